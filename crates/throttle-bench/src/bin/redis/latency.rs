//! The time that a decision adds to a round trip.

use redis::cmd;
use throttle_core::{Algorithm, Limiter};
use throttle_testbed::Server;

use crate::workload::{Run, limiter, median, rule, storage};

const ROUNDS: usize = 7;
const TIMES: usize = 20_000;

pub(crate) async fn run() {
    println!("\nlatency of one task alone, microseconds, median of {ROUNDS} rounds");
    println!("| what | p50 | p99 | p50 by PING's |\n| --- | --- | --- | --- |");
    let server = Server::start();
    let client = redis::Client::open(server.url()).expect("the address is right");
    let plain = client.get_multiplexed_async_connection().await.expect("the server runs");
    let storage = storage(&server, 1).await;
    let rules = Algorithm::ALL.map(rule);
    let limiters = rules.map(|rule| limiter(&storage, [rule]));
    let three = limiter(
        &storage,
        ["a", "b", "c"].map(|name| throttle_core::Rule::per_hour(name, 100_000_000)),
    );

    let mut names = vec!["PING".to_owned()];
    names.extend(Algorithm::ALL.map(|algorithm| algorithm.to_string()));
    names.push("three rules on one key".to_owned());
    let mut p50 = vec![Vec::new(); names.len()];
    let mut p99 = vec![Vec::new(); names.len()];
    for _ in 0..ROUNDS {
        let mut runs = Vec::new();
        let connection = plain.clone();
        runs.push(
            Run::of(1, TIMES, move |_| {
                let mut connection = connection.clone();
                async move {
                    cmd("PING").exec_async(&mut connection).await.expect("the server answers");
                }
            })
            .await,
        );
        for limiter in &limiters {
            runs.push(decide(limiter, &["api"]).await);
        }
        runs.push(decide(&three, &["a", "b", "c"]).await);
        for (i, run) in runs.iter().enumerate() {
            p50[i].push(run.percentile(0.5));
            p99[i].push(run.percentile(0.99));
        }
    }
    let p50: Vec<_> = p50.into_iter().map(median).collect();
    for ((name, p50_of), p99_of) in names.iter().zip(&p50).zip(p99) {
        println!("| {name} | {p50_of:.1} | {:.1} | {:.2} |", median(p99_of), p50_of / p50[0]);
    }
}

async fn decide(limiter: &Limiter, rules: &'static [&'static str]) -> Run {
    let limiter = limiter.clone();
    Run::of(1, TIMES, move |i| {
        let limiter = limiter.clone();
        async move {
            let key = format!("client-{:013}", i % 1_000);
            limiter.check_all(&key[..], rules).await.expect("decided");
        }
    })
    .await
}
