//! Limits in a Redis Cluster: keys are spread over the masters, and all rules of a key are on the same master.
//!
//! `cargo run --features redis --example redis_cluster` starts three masters with `redis-server`, which must be
//! installed. It moves the slot of a client to another master, and the client keeps its count.
//!
//! To use a running cluster, pass the addresses of some nodes:
//! `cargo run --features redis --example redis_cluster -- redis://127.0.0.1:7000 redis://127.0.0.1:7001`. A user name
//! and password belong in the first address: `redis://user:password@127.0.0.1:7000`.

use std::{env, error::Error, time::Duration};

use ratethrottle::{Algorithm, Limiter, RedisStorage, Rule};
use throttle_testbed::Cluster;
use tokio::task::block_in_place;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let nodes: Vec<_> = env::args().skip(1).collect();
    let lines = if nodes.is_empty() {
        println!("starting a cluster");
        let cluster = block_in_place(|| Cluster::builder().without_replicas().start());
        let storage = connect(&cluster.urls()[..1]).await?;
        let mut lines = run(&storage).await?;
        lines.extend(move_slot(&cluster, &storage).await?);
        lines
    } else {
        run(&connect(&nodes).await?).await?
    };
    for line in lines {
        println!("{line}");
    }
    Ok(())
}

/// Connects to the cluster through some of its nodes, and discovers the others.
async fn connect(nodes: &[String]) -> Result<RedisStorage, ratethrottle::redis::Error> {
    RedisStorage::cluster(nodes)
        .max_connections(2) // to each master; the default is 4
        .connect_timeout(Duration::from_secs(1)) // per connection; the default is 2 s
        .response_timeout(Duration::from_millis(500)) // per request, including redirections; the default
        .retries(5) // a slot migration needs one or two; the default is 3
        .key_prefix("cluster-example:") // no braces, which would put all keys into one slot
        .connect()
        .await
}

/// Checks some clients, and returns the decisions and the nodes of the cluster.
async fn run(storage: &RedisStorage) -> Result<Vec<String>, Box<dyn Error>> {
    let limiter = Limiter::new(storage.clone());
    limiter.add_rule(Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20))?;
    limiter.add_rule(Rule::per_day("daily", 10_000))?;

    let mut lines = Vec::new();
    for client in ["user:1", "user:2", "user:3"] {
        // Both keys of a client are in the same slot, so this is one atomic call to one node.
        let decisions = limiter.check_all(client, &["burst", "daily"]).await?;
        lines.push(format!("{client}: allowed {}", decisions.is_allowed()));
    }
    for node in storage.info().await?.nodes {
        lines.push(format!(
            "{}: {} {}, {} bytes",
            node.address, node.role, node.version, node.used_memory
        ));
    }
    Ok(lines)
}

/// Moves the slot of a client to another master, and checks the client before and after.
async fn move_slot(
    cluster: &Cluster,
    storage: &RedisStorage,
) -> Result<Vec<String>, Box<dyn Error>> {
    let limiter = Limiter::new(storage.clone());
    limiter.add_rule(Rule::per_day("moved", 100))?;
    let before = limiter.check("user:1", "moved").await?;
    let slot = cluster.slot_of("{user:1}"); // the braces contain the part of a Redis key that selects its slot
    let from = cluster.node_of_slot(slot).address();
    let to = cluster.masters().into_iter().find(|node| node.address() != from);
    let to = to.ok_or("the cluster has only one master")?;
    block_in_place(|| cluster.move_slot(slot, to));
    let after = limiter.check("user:1", "moved").await?;
    Ok(vec![
        format!(
            "user:1: {} left; moving its slot from {from} to {}",
            before.remaining(),
            to.address()
        ),
        format!(
            "user:1: {} left; the cluster redirected {} requests",
            after.remaining(),
            storage.stats().redirections
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_example_uses_three_masters() {
        let cluster = block_in_place(|| Cluster::builder().without_replicas().start());
        let storage = connect(&cluster.urls()[..1]).await.unwrap();
        let lines = run(&storage).await.unwrap();
        assert_eq!(lines.iter().filter(|line| line.ends_with("allowed true")).count(), 3);
        assert_eq!(lines.iter().filter(|line| line.contains(" master ")).count(), 3, "{lines:?}");

        let lines = move_slot(&cluster, &storage).await.unwrap();
        assert!(lines[0].starts_with("user:1: 99 left"), "{lines:?}");
        assert!(lines[1].starts_with("user:1: 98 left"), "{lines:?}");
    }
}
