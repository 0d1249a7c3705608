//! All options of storages, of their resilience wrappers, and of a limiter.
//!
//! Run `cargo run --features redis,resilience --example storage_options -- redis://127.0.0.1:6379/0`, or pass the
//! addresses of sentinels instead. Passwords are read from REDIS_PASSWORD and SENTINEL_PASSWORD. All options have
//! defaults, so set only what you need.
//!
//! For TLS see `redis_tls.rs`, for a cluster `redis_cluster.rs`.

use std::{env, error::Error, time::Duration};

use ratethrottle::{
    Limiter, MemoryStorage, RedisStorage, Resilience, Rule, Storage,
    limiter::LimiterBuilder,
    redis::RedisStorageBuilder,
    resilience::{
        CircuitBreakerConfig, Deadlines, FailureMode, FailureModes, Instances, LeaseBudget, Leases,
        Resilient,
    },
};

const USER: &str = "limits";
/// The secret with which keys in Redis are hashed. All servers must use the same secret.
const SECRET: &[u8] = b"sixteen random bytes, or more";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init(); // failures and recoveries are logged
    println!("in memory: {}", check(&limiter(leased(memory(), 1)).build()).await?);

    let addresses: Vec<_> = env::args().skip(1).collect();
    let mut redis = match &addresses[..] {
        [] => RedisStorage::builder("redis://127.0.0.1:6379/0"),
        [url] if url.contains("://") => RedisStorage::builder(url),
        hosts => sentinels(hosts, "mymaster", &env::var("SENTINEL_PASSWORD")?),
    };
    if let Ok(password) = env::var("REDIS_PASSWORD") {
        redis = redis.username(USER).password(password); // or in the address
    }
    // The service starts even if Redis is down. `connect` would wait for Redis instead.
    let storage = resilient(with_options(redis).connect_in_background()?);
    let limiter = limiter(storage).build();
    println!("in Redis: {}", check(&limiter).await?);
    limiter.shutdown(Duration::from_secs(5)).await; // returns unused leases
    Ok(())
}

/// Creates a storage in memory.
fn memory() -> MemoryStorage {
    MemoryStorage::builder().max_entries(100_000).build()
}

/// Finds the master through its sentinels, which have their own user and password.
fn sentinels(addresses: &[String], master: &str, password: &str) -> RedisStorageBuilder {
    RedisStorage::sentinel(addresses, master).sentinel_username(USER).sentinel_password(password)
}

fn with_options(redis: RedisStorageBuilder) -> RedisStorageBuilder {
    redis
        .database(2)
        .client_name("web-1") // the name in CLIENT LIST
        .resp3(true)
        .max_connections(2) // at most; the default is 4, and more are not used
        .connect_timeout(Duration::from_secs(5))
        .response_timeout(Duration::from_millis(300))
        .retries(3) // only of commands that were certainly not executed
        .health_check_interval(Duration::from_secs(10))
        .permit_lease(Duration::from_secs(5)) // after which the permits of a crashed server are released
        .key_prefix("storage-options:")
        .hash_keys(SECRET)
}

/// Wraps a storage, so that requests are decided while it fails, and so that a flood does not reach it.
fn resilient(storage: impl Storage) -> Resilient {
    let deadlines = Deadlines::new()
        .acquire(Duration::from_millis(50))
        .peek(Duration::from_millis(50))
        .refund(Duration::from_millis(500))
        .reset(Duration::from_millis(500))
        .operations(Duration::from_millis(500)) // `get`, `set` and the other operations of `Storage`
        .clear(Duration::from_secs(30));
    let circuit = CircuitBreakerConfig::new()
        .window_size(200)
        .minimum_calls(20)
        .failure_rate(0.3)
        .slow_call_threshold(Duration::from_millis(40))
        .open_duration(Duration::from_secs(1))
        .half_open_calls(3)
        .on_change(|change| eprintln!("circuit breaker: {change:?}"));
    // The number of instances is counted in the storage. Until it is known, three are assumed.
    let instances = Instances::discovered(3).every(Duration::from_secs(10));
    let modes = FailureModes::local(memory(), instances.clone())
        .rule("login", FailureMode::FailClosed)
        .otherwise(FailureMode::Local) // the default of `local`
        .max_deferred(50_000)
        .on_change(|change| eprintln!("failure mode: {change:?}"));
    Resilience::new(storage)
        .deadline(deadlines)
        .breaker(circuit)
        .failure_modes(modes)
        .denial_cache(100_000)
        .instances(instances)
        .lease("api", LeaseBudget::percent(5))
        .leased_keys(10_000)
        .build()
}

/// Adds leases without the other wrappers.
fn leased(storage: impl Storage, instances: u64) -> Leases {
    let leases = Leases::new(storage, Instances::fixed(instances));
    leases.rule("api", LeaseBudget::percent(0.5)).max_keys(1_000).build()
}

fn limiter(storage: impl Storage) -> LimiterBuilder {
    Limiter::builder(storage).recent_violations(50).show_keys()
}

async fn check(limiter: &Limiter) -> Result<String, ratethrottle::Error> {
    limiter.add_rule(Rule::per_minute("api", 1_000))?;
    limiter.add_rule(Rule::per_minute("login", 5).block(Duration::from_secs(900)))?;
    let decisions = limiter.check_all("user:42", &["api", "login"]).await?;
    let left =
        decisions.all().iter().map(|one| format!("{}: {} left", one.rule(), one.remaining()));
    Ok(left.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use ratethrottle::ManualClock;
    use throttle_testbed::{Sentinels, Server};
    use tokio::task::block_in_place;

    use super::*;

    const LEFT: &str = "api: 999 left, login: 4 left";

    #[tokio::test]
    async fn redis_works_with_all_options_and_stores_only_hashed_keys() {
        let server = Server::builder().acl_user(USER, "secret", "~storage-options:* +@all").start();
        let redis = RedisStorage::builder(&server.url()).username(USER).password("secret");
        let storage = resilient(with_options(redis).connect().await.unwrap());
        let limiter = limiter(storage.clone()).build();
        assert_eq!(check(&limiter).await.unwrap(), LEFT);
        storage.close().await;
        let list = "redis.call('SELECT', 2) return table.concat(redis.call('KEYS', '*'), ' ')";
        let keys = server.command(&["EVAL", list, "0"]).to_string();
        assert!(keys.contains("storage-options:") && !keys.contains("user:42"), "{keys}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sentinels_with_authentication_name_the_master() {
        let redis = block_in_place(|| {
            let redis = Sentinels::builder().sentinel_password("another password");
            redis.sentinel_acl_user(USER, "secret", "~* &* +@all").start()
        });
        let storage = sentinels(&redis.sentinel_addresses(), redis.master_name(), "secret");
        let limiter = limiter(storage.connect().await.unwrap()).build();
        assert_eq!(check(&limiter).await.unwrap(), LEFT);
    }

    #[tokio::test]
    async fn leases_and_memory_work_with_a_manual_clock() {
        let clock = ManualClock::default();
        let limiter = limiter(leased(memory(), 3)).clock(clock.clone()).build();
        assert_eq!(check(&limiter).await.unwrap(), LEFT);
        clock.advance(Duration::from_secs(120));
        assert_eq!(check(&limiter).await.unwrap(), LEFT);
    }
}
