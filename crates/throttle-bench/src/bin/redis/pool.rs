//! A few shared connections compared with an exclusive pool (bb8), with the same call.

use redis::{Client, cmd};
use throttle_core::Algorithm;
use throttle_testbed::Server;

use crate::workload::{Run, info, limiter, rule, server_cpu, storage};

const TIMES: usize = 100_000;

pub(crate) async fn run() {
    println!("\nshared connections and an exclusive pool: one decision each, 1,000 keys");
    println!(
        "| tasks | connections | per second | p99 µs | server CPU µs per decision |\n\
         | --- | --- | --- | --- | --- |"
    );
    let server = Server::start();
    for tasks in [1, 16, 64, 256] {
        for connections in [1, 2, 4] {
            let storage = storage(&server, connections).await;
            let limiter = limiter(&storage, [rule(Algorithm::TokenBucket)]);
            let ask = move |i: usize| {
                let limiter = limiter.clone();
                async move {
                    let key = format!("client-{:013}", i % 1_000);
                    limiter.check(&key[..], "api").await.expect("decided");
                }
            };
            print(&server, tasks, &format!("{connections} shared (ours)"), ask).await;
        }
        for connections in [10, 50] {
            let ask = exclusive(&server, connections).await;
            print(&server, tasks, &format!("{connections} exclusive (bb8)"), ask).await;
        }
    }
}

async fn print<F, Fut>(server: &Server, tasks: usize, name: &str, once: F)
where
    F: Fn(usize) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    Run::of(tasks, TIMES / 10, once.clone()).await;
    let before = server_cpu(server);
    let run = Run::of(tasks, TIMES, once).await;
    let cpu = (server_cpu(server) - before) / TIMES as f64 * 1e6;
    println!(
        "| {tasks} | {name} | {:.0} | {:.0} | {cpu:.1} |",
        run.per_second,
        run.percentile(0.99)
    );
}

/// Returns the same call over an exclusive pool: it takes a connection, sends the call, and returns
/// the connection.
async fn exclusive(
    server: &Server,
    connections: u32,
) -> impl Fn(usize) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Clone + Send + 'static {
    let client = Client::open(server.url()).expect("the address is right");
    let pool = bb8::Pool::builder().max_size(connections).build(client).await;
    let pool = pool.expect("the server runs");
    // The storage has loaded the script; its digest is in the server's slow log.
    let call = crate::throughput::the_call(server, rule(Algorithm::TokenBucket)).await;
    let call = std::sync::Arc::new(call);
    debug_assert!(!info(server, "server", "redis_version").is_empty());
    move |i| {
        let (pool, call) = (pool.clone(), std::sync::Arc::clone(&call));
        Box::pin(async move {
            let key = format!("ratethrottle:{{client-{:013}}}:api", i % 1_000);
            let mut command = cmd("EVALSHA");
            command.arg(&call[1][..]).arg(1).arg(key);
            for word in &call[4..] {
                command.arg(&word[..]);
            }
            let mut connection = pool.get().await.expect("a connection becomes available");
            command.exec_async(&mut *connection).await.expect("decided");
        })
    }
}
