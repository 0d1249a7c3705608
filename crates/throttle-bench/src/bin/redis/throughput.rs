//! Decisions per second, compared with the capacity of the server.

use std::process::Command;

use throttle_core::{Algorithm, Rule, tag};
use throttle_testbed::{Reply, Server};

use crate::workload::{Run, limiter, median, rule, storage};

const ROUNDS: usize = 3;
const TIMES: usize = 200_000;

pub(crate) async fn run() {
    println!("\ndecisions per second on one key, 64 tasks, and redis-benchmark with the same call");
    println!(
        "| algorithm | redis-benchmark, 50 connections | pipelined by 16 | ours, 1 connection | 2 \
         | 4 | best by pipelined |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    for algorithm in
        [Algorithm::TokenBucket, Algorithm::SlidingWindowCounter, Algorithm::FixedWindow]
    {
        let server = Server::start();
        let call = the_call(&server, rule(algorithm)).await;
        let digest = with_arguments(&server, &call);
        let key = String::from_utf8_lossy(&call[3]).into_owned();
        let mut results = vec![Vec::new(); 5];
        for _ in 0..ROUNDS {
            results[0].push(benchmark(&server, &digest, &key, 1));
            results[1].push(benchmark(&server, &digest, &key, 16));
            for (i, connections) in [1, 2, 4].into_iter().enumerate() {
                results[2 + i].push(ours(&server, algorithm, connections).await);
            }
        }
        let results: Vec<_> = results.into_iter().map(median).collect();
        let best = results[2..].iter().fold(0.0, |a: f64, b| a.max(*b));
        print!("| {algorithm} |");
        results.iter().for_each(|result| print!(" {result:.0} |"));
        println!(" {:.2} |", best / results[1]);
    }
}

async fn ours(server: &Server, algorithm: Algorithm, connections: usize) -> f64 {
    let storage = storage(server, connections).await;
    let limiter = limiter(&storage, [rule(algorithm)]);
    let run = Run::of(64, TIMES, move |_| {
        let limiter = limiter.clone();
        async move {
            limiter.check("client-0000000000001", "api").await.expect("decided");
        }
    });
    run.await.per_second
}

/// Returns the command of a check, as the server's slow log shows it.
pub(crate) async fn the_call(server: &Server, rule: Rule) -> Vec<Vec<u8>> {
    let storage = storage(server, 1).await;
    let limiter = limiter(&storage, [rule]);
    limiter.check("client-0000000000001", "api").await.expect("decided");
    server.command(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
    server.command(&["SLOWLOG", "RESET"]);
    limiter.check("client-0000000000001", "api").await.expect("decided");
    server.command(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]);
    let log = server.command(&["SLOWLOG", "GET", "10"]);
    let words = |entry: &Reply| -> Vec<Vec<u8>> {
        entry.list()[3].list().iter().map(|word| word.bytes().to_vec()).collect()
    };
    let calls = log.list().iter().map(words);
    let mut calls = calls.filter(|words| words[0].eq_ignore_ascii_case(b"EVALSHA"));
    calls.next().expect("the check was logged")
}

/// The script that the storage sends, before names are replaced by numbers.
const SCRIPT: &str = concat!(
    include_str!("../../../../throttle-redis/src/lua/request.lua"),
    include_str!("../../../../throttle-redis/src/lua/exact.lua"),
    include_str!("../../../../throttle-redis/src/lua/block.lua"),
    include_str!("../../../../throttle-redis/src/lua/prologue.lua"),
    include_str!("../../../../throttle-redis/src/lua/mixed.lua"),
    include_str!("../../../../throttle-redis/src/lua/own_state.lua"),
    include_str!("../../../../throttle-redis/src/lua/fixed_window.lua"),
    include_str!("../../../../throttle-redis/src/lua/sliding_counter.lua"),
    include_str!("../../../../throttle-redis/src/lua/sliding_log.lua"),
    include_str!("../../../../throttle-redis/src/lua/bucket.lua"),
    include_str!("../../../../throttle-redis/src/lua/epilogue.lua"),
);

/// Returns the digest of the same script, into which the arguments of a call are written. redis-benchmark cannot send
/// these arguments, because it treats a zero byte as the end of an argument.
pub(crate) fn with_arguments(server: &Server, call: &[Vec<u8>]) -> String {
    let script = tag::fill_in(SCRIPT);
    let digest = server.command(&["SCRIPT", "LOAD", &script]).to_string();
    assert_eq!(digest.as_bytes(), call[1], "the script differs from the storage's");
    let quoted = |word: &Vec<u8>| {
        let bytes: String = word.iter().map(|byte| format!("\\{byte:03}")).collect();
        format!("'{bytes}'")
    };
    let arguments: Vec<_> = call[4..].iter().map(quoted).collect();
    let script = format!("local ARGV = {{{}}}\n{script}", arguments.join(","));
    server.command(&["SCRIPT", "LOAD", &script]).to_string()
}

/// Returns the number of calls per second.
pub(crate) fn benchmark(server: &Server, digest: &str, key: &str, pipeline: usize) -> f64 {
    let output = Command::new("redis-benchmark")
        .args(["-p", &server.port().to_string(), "-c", "50", "--csv"])
        .args(["-n", &TIMES.to_string(), "-P", &pipeline.to_string()])
        .args(["EVALSHA", digest, "1", key])
        .output()
        .expect("redis-benchmark is installed (Debian: redis-tools)");
    let text = String::from_utf8_lossy(&output.stdout);
    // The last line: "name","rps","avg",…
    let last = text.lines().last().unwrap_or_default();
    let result = last.split("\",\"").nth(1).and_then(|field| field.parse().ok());
    result.unwrap_or_else(|| panic!("{text}"))
}
