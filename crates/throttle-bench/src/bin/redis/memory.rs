//! The memory of a key in Redis, and its expiry.

use std::time::{Duration, Instant};

use throttle_core::{Algorithm, Rule};
use throttle_testbed::Server;

use crate::workload::{Run, info, limiter, rule, storage};

const KEYS: usize = 1_000_000;

pub(crate) async fn run() {
    println!(
        "\nmemory of a key in Redis (MEMORY USAGE), identity of 20 bytes, prefix ratethrottle:"
    );
    println!("| algorithm | bytes | with a block |\n| --- | --- | --- |");
    let server = Server::start();
    let storage = storage(&server, 2).await;
    for algorithm in Algorithm::ALL {
        let blocking =
            Rule::per_hour("auth", 1).algorithm(algorithm).block(Duration::from_secs(60));
        let limiter = limiter(&storage, [rule(algorithm), blocking]);
        let mut bytes = Vec::new();
        for name in ["api", "auth"] {
            for _ in 0..3 {
                limiter.check("client-0000000000001", name).await.expect("decided");
            }
            let key = format!("ratethrottle:{{client-0000000000001}}:{name}");
            bytes.push(server.command(&["MEMORY", "USAGE", &key]).integer());
        }
        println!("| {algorithm} | {} | {} |", bytes[0], bytes[1]);
        server.command(&["FLUSHALL"]);
    }

    let used = || info(&server, "memory", "used_memory").parse::<f64>().unwrap_or(0.0);
    let before = used();
    let limiter = limiter(&storage, [Rule::new("api", 5, Duration::from_secs(30))]);
    let start = Instant::now();
    let asking = limiter.clone();
    Run::of(64, KEYS, move |i| {
        let limiter = asking.clone();
        async move {
            let key = format!("client-{i:013}");
            limiter.check(&key[..], "api").await.expect("decided");
        }
    })
    .await;
    let (took, grown) = (start.elapsed(), used() - before);
    let keys = server.command(&["DBSIZE"]).integer();
    println!(
        "\n{keys} keys after {took:.1?}: {:.0} bytes of used_memory for each",
        grown / keys as f64
    );
    let idle = Instant::now();
    while server.command(&["DBSIZE"]).integer() > 0 && idle.elapsed() < Duration::from_secs(180) {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!(
        "{} keys are left {:.0?} after the last request (the rule's two windows are 60 s)",
        server.command(&["DBSIZE"]),
        idle.elapsed()
    );
}
