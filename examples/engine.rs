//! The limiter without a framework: checks, several rules, waits, refunds, lists, storage, metrics.
//!
//! Run `cargo run --example engine`.

use std::{
    error::Error,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use ratethrottle::{Algorithm, Limiter, ManualClock, MemoryStorage, Rule, Storage, Value};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    run().await
}

async fn run() -> Result<(), Box<dyn Error>> {
    // A manual clock makes the output the same in each run. Do not set a clock in a service.
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    let storage = MemoryStorage::new();
    let limiter = Limiter::builder(storage.clone()).clock(clock.clone()).build();
    limiter.add_rule(Rule::per_second("burst", 2).algorithm(Algorithm::TokenBucket).burst(3))?;
    limiter.add_rule(Rule::per_day("daily", 5))?;

    for n in 1..=4 {
        let decisions = limiter.check_all("user:42", &["burst", "daily"]).await?;
        let one = decisions.most_restrictive();
        println!("{n}: {} by {:?}, {} left", one.is_allowed(), one.rule(), one.remaining());
    }
    let denied = limiter.check("user:42", "burst").await?;
    println!("retry in {:?}", denied.retry_after());
    clock.advance(denied.retry_after().unwrap_or_default());
    println!("then: {}", limiter.check("user:42", "burst").await?.is_allowed());

    limiter.refund("user:42", "daily", 1).await?;
    println!("after a refund: {} left", limiter.peek("user:42", "daily").await?.remaining());
    limiter.reset("user:42", "daily").await?;
    println!("after a reset: {} left", limiter.peek("user:42", "daily").await?.remaining());

    limiter.deny_list().add_for("203.0.113.9", Duration::from_secs(60))?;
    println!(
        "denied: {}",
        !limiter.check(IpAddr::from([203, 0, 113, 9]), "daily").await?.is_allowed()
    );

    storage.set("greeting", "hello".into(), Some(Duration::from_secs(60))).await?;
    let greeting: Option<Value> = storage.get("greeting").await?;
    println!("{greeting:?}, counter {}", storage.increment("counter", 1, None).await?);

    let metrics = limiter.metrics();
    println!("{} requests, {} rejected", metrics.total, metrics.denied);
    println!("{:?}", limiter.status());
    Ok(())
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn the_example_runs_without_errors() {
        super::run().await.unwrap();
    }
}
