//! A limit that survives the failure of a Redis server, with Redis Sentinel.
//!
//! `cargo run --features redis --example redis_sentinel` starts a master, two replicas and three sentinels by
//! `redis-server`, which must be installed. It kills the master while it checks a client.
//!
//! To use running sentinels, pass the name of the master and their addresses:
//! `cargo run --features redis --example redis_sentinel -- mymaster 127.0.0.1:26379 127.0.0.1:26380`. Then kill the
//! master, or run `redis-cli -p 26379 SENTINEL FAILOVER mymaster`. Passwords are read from REDIS_PASSWORD and
//! SENTINEL_PASSWORD.

use std::{env, error::Error, time::Duration};

use ratethrottle::{Limiter, RedisStorage, Rule};
use throttle_testbed::Sentinels;
use tokio::{task::block_in_place, time::Instant};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init(); // shows log messages about failovers
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.split_first() {
        Some((master, sentinels)) => {
            let storage = connect(sentinels, master).await?;
            let limiter = limiter(&storage)?;
            loop {
                println!("{}", check(&limiter, &storage).await);
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
        None => {
            println!("starting Redis servers and sentinels");
            let servers = block_in_place(Sentinels::start);
            for line in survive(&servers).await? {
                println!("{line}");
            }
            Ok(())
        }
    }
}

/// Kills the master, and checks a client until another server is the master.
async fn survive(servers: &Sentinels) -> Result<Vec<String>, Box<dyn Error>> {
    let storage = connect(&servers.sentinel_addresses(), servers.master_name()).await?;
    let limiter = limiter(&storage)?;
    let mut lines = vec![check(&limiter, &storage).await];
    // Replication is asynchronous: a master that is killed at once takes the last charges with it.
    tokio::time::sleep(Duration::from_millis(500)).await;

    let master = block_in_place(|| servers.kill_master());
    lines.push(format!("killed the master, {}", master.address()));
    let killed = Instant::now();
    let mut errors = 0;
    while killed.elapsed() < Duration::from_secs(60) {
        let line = check(&limiter, &storage).await;
        if line.starts_with("allowed") {
            let seconds = killed.elapsed().as_secs_f32();
            lines.push(format!("the new master answers after {seconds:.1} s and {errors} errors"));
            lines.push(line);
            return Ok(lines);
        }
        if errors == 0 {
            lines.push(line);
        }
        errors += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("no failover within a minute: {lines:#?}").into())
}

/// Connects to the current master.
async fn connect(
    sentinels: &[String],
    master: &str,
) -> Result<RedisStorage, ratethrottle::redis::Error> {
    let mut builder = RedisStorage::sentinel(sentinels, master)
        .max_connections(4) // the default; connections are opened on demand
        .connect_timeout(Duration::from_secs(1)) // per connection; the default is 2 s
        .response_timeout(Duration::from_millis(300)) // per request; the default is 500 ms
        .retries(3) // the default; only commands that were certainly not executed are sent again
        .client_name("sentinel-example") // the name in CLIENT LIST
        .key_prefix("sentinel-example:");
    if let Ok(password) = env::var("REDIS_PASSWORD") {
        builder = builder.password(password); // for the Redis servers
    }
    if let Ok(password) = env::var("SENTINEL_PASSWORD") {
        builder = builder.sentinel_password(password); // for the sentinels
    }
    builder.connect().await
}

fn limiter(storage: &RedisStorage) -> Result<Limiter, ratethrottle::Error> {
    let limiter = Limiter::new(storage.clone());
    limiter.add_rule(Rule::per_minute("api", 100))?;
    Ok(limiter)
}

/// Checks one client, and describes the result. During a failover, requests may get an error.
async fn check(limiter: &Limiter, storage: &RedisStorage) -> String {
    let failovers = storage.stats().failovers;
    match limiter.check("user:42", "api").await {
        Ok(decision) => format!(
            "allowed: {}, {} left, {failovers} failovers",
            decision.is_allowed(),
            decision.remaining()
        ),
        Err(error) => format!("error: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn the_limit_survives_the_death_of_the_master() {
        let lines = survive(&block_in_place(Sentinels::start)).await.unwrap();
        assert_eq!(lines[0], "allowed: true, 99 left, 0 failovers");
        assert!(lines.last().unwrap().ends_with("1 failovers"), "{lines:#?}");
    }

    #[tokio::test]
    async fn the_error_without_sentinels_is_a_sentence() {
        let error = connect(&["127.0.0.1:1".to_owned()], "mymaster").await.unwrap_err();
        // As `main` prints it.
        let text = format!("{error:?}");
        assert!(text.contains("no connection to Redis") && !text.contains('{'), "{text}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn requests_are_allowed_after_a_failover() {
        let sentinels = block_in_place(Sentinels::start);
        let storage =
            connect(&sentinels.sentinel_addresses(), sentinels.master_name()).await.unwrap();
        let limiter = limiter(&storage).unwrap();
        assert_eq!(check(&limiter, &storage).await, "allowed: true, 99 left, 0 failovers");

        block_in_place(|| sentinels.failover());
        for _ in 0..50 {
            let line = check(&limiter, &storage).await;
            if line.starts_with("allowed: true") && line.ends_with("1 failovers") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{}", check(&limiter, &storage).await);
    }
}
