//! The Redis storage compared with `redis-benchmark` and an exclusive pool, on a separate server on
//! loopback, in the same run.
//!
//! `cargo run --release -p throttle-bench --bin redis` prints every table; `-- throughput`,
//! `-- server`, `-- latency`, `-- pool`, `-- memory` or `-- lists` prints one. It needs `redis-server` and
//! `redis-benchmark` (Debian: `redis-server`, `redis-tools`).

mod latency;
mod lists;
mod memory;
mod pool;
mod server;
mod throughput;
mod workload;

#[tokio::main(flavor = "multi_thread")]
async fn main() {
    let only: Vec<_> = std::env::args().skip(1).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|one| one == name);
    println!("{}", workload::machine());
    if wanted("server") {
        server::run().await;
    }
    if wanted("throughput") {
        throughput::run().await;
    }
    if wanted("latency") {
        latency::run().await;
    }
    if wanted("pool") {
        pool::run().await;
    }
    if wanted("memory") {
        memory::run().await;
    }
    if wanted("lists") {
        lists::run().await;
    }
}
