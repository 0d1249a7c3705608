//! How many decisions there are in a second, beside what the server can do at all.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use throttle_core::Algorithm;
use throttle_testbed::{Reply, Server};

use crate::workload::{Run, limiter, median, rule, storage};

const ROUNDS: usize = 5;
const TIMES: usize = 200_000;

pub(crate) async fn run() {
    println!(
        "\ndecisions per second on one key, 64 tasks, beside redis-benchmark of the same call"
    );
    println!(
        "| algorithm | redis-benchmark, 50 connections | pipelined by 16 | ours, 1 connection | 2 \
         | 4 | best by pipelined |\n| --- | --- | --- | --- | --- | --- | --- |"
    );
    for algorithm in
        [Algorithm::TokenBucket, Algorithm::SlidingWindowCounter, Algorithm::FixedWindow]
    {
        let server = Server::start();
        let call = the_call(&server, algorithm).await;
        let mut figures = vec![Vec::new(); 5];
        for _ in 0..ROUNDS {
            figures[0].push(benchmark(&server, &call, 1));
            figures[1].push(benchmark(&server, &call, 16));
            for (i, connections) in [1, 2, 4].into_iter().enumerate() {
                figures[2 + i].push(ours(&server, algorithm, connections).await);
            }
        }
        let figures: Vec<_> = figures.into_iter().map(median).collect();
        let best = figures[2..].iter().fold(0.0, |a: f64, b| a.max(*b));
        print!("| {algorithm} |");
        figures.iter().for_each(|figure| print!(" {figure:.0} |"));
        println!(" {:.2} |", best / figures[1]);
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

/// Returns the words of the call that a check is, as the server's slow log has them.
pub(crate) async fn the_call(server: &Server, algorithm: Algorithm) -> Vec<Vec<u8>> {
    let storage = storage(server, 1).await;
    let limiter = limiter(&storage, [rule(algorithm)]);
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

/// Runs redis-benchmark; the last word has bytes that only its standard input can take.
fn benchmark(server: &Server, call: &[Vec<u8>], pipeline: usize) -> f64 {
    let (last, words) = call.split_last().expect("a call has words");
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &server.port().to_string(), "-c", "50", "--csv", "-x"]);
    command.args(["-n", &TIMES.to_string(), "-P", &pipeline.to_string()]);
    for word in words {
        command.arg(std::str::from_utf8(word).expect("the other words are text"));
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-benchmark is installed (Debian: redis-tools)");
    child.stdin.take().expect("it is piped").write_all(last).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    // The last line: "name","rps","avg",…; the name may hold anything.
    let fields: Vec<_> = text.trim_end().rsplit("\",\"").collect();
    fields.get(6).and_then(|field| field.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}
