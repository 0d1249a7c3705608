//! The load of a storage under a flood of denied requests, with a denial cache.
//!
//! The denial cache uses the real clock, so the flood runs in real time and is not a part of the simulation.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use ratethrottle::{Algorithm, Limiter, Rule, resilience::DenialCache};

use crate::counted::Counted;

/// The result of a flood.
pub(crate) struct Flood {
    pub(crate) requests: u64,
    pub(crate) calls: u64,
    pub(crate) took: Duration,
}

/// Sends requests to servers as fast as they respond, for a key whose limit is used up.
pub(crate) async fn flood(servers: usize, span: Duration) -> Result<Flood, Box<dyn Error>> {
    let storage = Counted::new(Duration::ZERO);
    // A window that does not end during the test.
    let rule = Rule::new("client", 1, Duration::from_secs(365 * 86_400));
    let rule = rule.algorithm(Algorithm::TokenBucket);
    let server = |_| -> Result<Limiter, ratethrottle::Error> {
        let limiter = Limiter::new(DenialCache::new(storage.clone(), 100));
        limiter.add_rule(rule.clone())?;
        Ok(limiter)
    };
    let servers = (0..servers).map(server).collect::<Result<Vec<_>, _>>()?;
    for server in &servers {
        server.check("key", "client").await?; // the first check uses up the limit
    }
    let (before, began) = (storage.calls(), Instant::now());
    let mut requests = 0;
    while began.elapsed() < span {
        for server in &servers {
            requests += 1;
            if server.check("key", "client").await?.is_allowed() {
                return Err("a request was allowed".into());
            }
        }
    }
    Ok(Flood { requests, calls: storage.calls() - before, took: began.elapsed() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_server_calls_the_storage_twice_per_second_at_any_load() {
        let servers = 20;
        let flood = flood(servers, Duration::from_millis(1_100)).await.unwrap();
        let halves = u64::try_from(flood.took.as_millis() / 500).unwrap();
        let most = (halves + 2) * servers as u64;
        assert!(flood.calls <= most, "{} calls in {:?}", flood.calls, flood.took);
        assert!(flood.calls >= servers as u64, "each server must check for changes");
        assert!(flood.requests > 10 * flood.calls, "{} requests", flood.requests);
    }
}
