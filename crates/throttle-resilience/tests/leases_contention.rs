//! Many instances and one key beyond its limit: they do not make a call for every freed permit.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use common::FaultyStorage;
use throttle_core::{Algorithm, Limiter, ManualClock, Micros, Rule};
use throttle_memory::MemoryStorage;
use throttle_resilience::{LeaseBudget, Leases};

const SERVERS: u64 = 50;
const LIMIT: u64 = 50_000;
const START: u64 = 1_767_225_600_000_000;

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("memory answers immediately"),
    }
}

struct Fleet {
    storage: FaultyStorage,
    clock: ManualClock,
    servers: Vec<Limiter>,
    exact: Limiter,
    at: u64,
    random: fastrand::Rng,
}

impl Fleet {
    fn new(rule: &Rule) -> Self {
        let (storage, clock) = (FaultyStorage::default(), ManualClock::default());
        let server = |_| {
            let leases = Leases::new(storage.clone(), SERVERS).rule("r", LeaseBudget::percent(10));
            let limiter = Limiter::builder(leases.build()).clock(clock.clone()).build();
            limiter.add_rule(rule.clone()).unwrap();
            limiter
        };
        let servers = (0..SERVERS).map(server).collect();
        let exact = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
        exact.add_rule(rule.clone()).unwrap();
        let random = fastrand::Rng::with_seed(7);
        Self { storage, clock, servers, exact, at: START, random }
    }

    /// Sends twice as many requests as the limit allows. Returns how many the fleet allowed, and
    /// how many an instance that counts each request did.
    fn overload(&mut self, requests: u64) -> (u64, u64) {
        let mut allowed = (0, 0);
        for _ in 0..requests {
            self.at += 1_000_000 / (2 * LIMIT);
            self.clock.set(Micros::new(self.at).to_system_time());
            let server = self.random.usize(..self.servers.len());
            let one = now(self.servers[server].check("k", "r")).unwrap();
            allowed.0 += u64::from(one.is_allowed());
            allowed.1 += u64::from(now(self.exact.check("k", "r")).unwrap().is_allowed());
        }
        allowed
    }
}

#[tokio::test]
async fn many_instances_do_not_make_a_call_for_every_freed_permit() {
    for algorithm in [Algorithm::SlidingWindowCounter, Algorithm::TokenBucket] {
        let mut fleet = Fleet::new(&Rule::per_second("r", LIMIT).algorithm(algorithm));
        fleet.overload(3 * LIMIT); // use up the limit
        let before = fleet.storage.calls();
        let (allowed, exact) = fleet.overload(2 * LIMIT);
        let calls = fleet.storage.calls() - before;
        println!("{algorithm}: {calls} calls, {allowed} of {exact} allowed");
        assert!(calls < 2 * LIMIT / 8, "{algorithm}: {calls} calls");
        assert!(allowed >= exact - LIMIT / 10, "{algorithm}: {allowed} of {exact}");
    }
}
