//! How long the server works on one decision.

use throttle_core::Algorithm;
use throttle_testbed::Server;

use crate::workload::{Run, info, limiter, rule, storage};

const TIMES: usize = 40_000;

pub(crate) async fn run() {
    println!("\nserver time of one decision (INFO commandstats), 10,000 keys, microseconds");
    println!("| algorithm | admitted | refused |\n| --- | --- | --- |");
    let server = Server::start();
    for algorithm in Algorithm::ALL {
        let storage = storage(&server, 1).await;
        let admits = rule(algorithm);
        let denies = throttle_core::Rule::per_hour("tight", 1).algorithm(algorithm);
        let limiter = limiter(&storage, [admits, denies]);
        let mut figures = Vec::new();
        for name in ["api", "tight"] {
            let ask = move |limiter: throttle_core::Limiter, i: usize| async move {
                limiter
                    .check(&format!("client-{:013}", i % 10_000)[..], name)
                    .await
                    .expect("decided");
            };
            let warm = limiter.clone();
            Run::of(8, 20_000, move |i| ask(warm.clone(), i)).await;
            server.command(&["CONFIG", "RESETSTAT"]);
            let hot = limiter.clone();
            // One task: the server is to be timed, not how it is kept from its core.
            Run::of(1, TIMES, move |i| ask(hot.clone(), i)).await;
            let stats = info(&server, "commandstats", "cmdstat_evalsha");
            let usec = stats.split(',').find_map(|part| part.strip_prefix("usec_per_call="));
            figures.push(usec.unwrap_or("?").to_owned());
        }
        println!("| {algorithm} | {} | {} |", figures[0], figures[1]);
        server.command(&["FLUSHALL"]);
    }
}
