//! Instances that lease, compared with one that counts each request: they allow nothing that it
//! would not allow, and reject little that it would allow.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    future::Future,
    mem,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use throttle_core::{Algorithm, Decision, Limiter, ManualClock, Micros, Rule};
use throttle_memory::MemoryStorage;
use throttle_resilience::{LeaseBudget, Leases};

const SERVERS: u64 = 3;
const LEASED: [Algorithm; 4] = [
    Algorithm::FixedWindow,
    Algorithm::SlidingWindowCounter,
    Algorithm::SlidingWindowLog,
    Algorithm::TokenBucket,
];

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("memory answers immediately"),
    }
}

struct World {
    storage: MemoryStorage,
    clock: ManualClock,
    rule: Rule,
    percent: f64,
    servers: Vec<(Limiter, Leases)>,
    reference: Limiter,
    random: fastrand::Rng,
    /// The maximum number of permits that killed instances held.
    killed: u64,
}

impl World {
    fn new(algorithm: Algorithm, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let clock = ManualClock::default();
        clock.set(Micros::new(1_767_225_600_123_456).to_system_time());
        let (limit, millis) = (random.u64(100..2_000), random.u64(200..3_000));
        let mut rule = Rule::new("r", limit, Duration::from_millis(millis)).algorithm(algorithm);
        if algorithm == Algorithm::TokenBucket && random.bool() {
            rule = rule.burst(random.u64(100..3_000));
        }
        let percent = random.f64() * 30.0 + 5.0;
        let reference = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
        reference.add_rule(rule.clone()).unwrap();
        let mut world = Self {
            storage: MemoryStorage::new(),
            clock,
            rule,
            percent,
            servers: Vec::new(),
            reference,
            random,
            killed: 0,
        };
        world.servers = (0..SERVERS).map(|_| world.server()).collect();
        world
    }

    fn server(&self) -> (Limiter, Leases) {
        let leases = Leases::new(self.storage.clone(), SERVERS);
        let leases = leases.rule("r", LeaseBudget::percent(self.percent)).build();
        let limiter = Limiter::builder(leases.clone()).clock(self.clock.clone()).build();
        limiter.add_rule(self.rule.clone()).unwrap();
        (limiter, leases)
    }

    /// Returns how many permits all instances may hold.
    fn budget(&self) -> u64 {
        let rule = self.rule.clone().check().unwrap();
        LeaseBudget::percent(self.percent).of(rule.limit().min(rule.capacity()))
    }

    fn request(&mut self) {
        let server = self.random.usize(..self.servers.len());
        let cost = if self.random.u8(..10) == 0 { self.random.u64(1..20) } else { 1 };
        let limiter = &self.servers[server].0;
        let decision = now(limiter.check_cost("k", "r", cost)).unwrap();
        if decision.is_allowed() {
            let plain = now(self.reference.check_cost("k", "r", cost)).unwrap();
            assert!(plain.is_allowed(), "one too many: {:?} {} %", self.rule, self.percent);
            if self.random.u8(..20) == 0 {
                self.roll_back(server, decision, plain);
            }
            return;
        }
        self.check_denial(cost, &decision);
    }

    fn roll_back(&mut self, server: usize, decision: Decision, plain: Decision) {
        let limiter = &self.servers[server].0;
        now(limiter.rollback("k", &[decision])).unwrap();
        now(self.reference.rollback("k", &[plain])).unwrap();
    }

    fn check_denial(&self, cost: u64, decision: &Decision) {
        let rule = self.rule.clone().check().unwrap();
        let left = now(self.reference.peek("k", "r")).unwrap().remaining();
        // With a log or a bucket the charged rule is stricter; after a refund even more so.
        let by_rule = match rule.algorithm() {
            Algorithm::TokenBucket => self.budget() + 1 + decision.limit() / 20,
            Algorithm::SlidingWindowLog => rule.limit(),
            _ => 0,
        };
        assert!(
            left < cost + self.budget() + self.killed + by_rule,
            "rejected too early: {left} left, cost {cost}, {} may be held: {:?} {} % {:?}",
            self.budget(),
            self.rule,
            self.percent,
            self.servers.iter().map(|(_, leases)| leases.stats()).collect::<Vec<_>>()
        );
    }

    fn step(&mut self) {
        match self.random.u8(..100) {
            0..90 => self.request(),
            90..97 => {
                let window = self.rule.clone().check().unwrap().window().get();
                let most = if self.random.u8(..20) == 0 { window } else { window / 50 };
                self.clock.advance(Duration::from_micros(self.random.u64(..=most)));
            }
            97 => {
                let server = self.random.usize(..self.servers.len());
                now(self.servers[server].1.flush());
            }
            98 => {
                let plain = now(self.reference.peek("k", "r")).unwrap();
                let server = self.random.usize(..self.servers.len());
                let peeked = now(self.servers[server].0.peek("k", "r")).unwrap();
                assert!(peeked.remaining() <= plain.remaining(), "{peeked:?} {plain:?}");
            }
            _ if self.random.u8(..5) == 0 => {
                let place = self.random.usize(..self.servers.len());
                let new = self.server();
                let killed = mem::replace(&mut self.servers[place], new);
                self.killed += killed.1.stats().held;
                mem::forget(killed); // kill -9: its permits are not returned
            }
            _ => {}
        }
    }
}

#[test]
fn leases_allow_nothing_extra_and_reject_little_too_early() {
    let seed = std::env::var("RATETHROTTLE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = seed.map_or(0..12_u64, |seed| seed..seed + 1);
    let mut answered = 0;
    for algorithm in LEASED {
        for seed in seeds.clone() {
            println!("{algorithm}, seed {seed}");
            let mut world = World::new(algorithm, seed);
            for _ in 0..4_000 {
                world.step();
            }
            let stats = world.servers.iter().map(|(_, leases)| leases.stats());
            answered += stats.map(|stats| stats.allowed).sum::<u64>();
        }
    }
    assert!(answered > 10_000, "hardly anything was leased: {answered}");
    println!("{answered} were allowed from leases");
}

#[test]
fn a_single_instance_can_use_the_whole_limit() {
    for algorithm in LEASED {
        let storage = MemoryStorage::new();
        let clock = ManualClock::default();
        clock.set(Micros::new(1_767_225_600_000_000).to_system_time());
        let leases = Leases::new(storage, 1).rule("r", LeaseBudget::percent(10)).build();
        let limiter = Limiter::builder(leases.clone()).clock(clock).build();
        limiter.add_rule(Rule::per_hour("r", 10_000).algorithm(algorithm)).unwrap();
        let allowed =
            (0..12_000).filter(|_| now(limiter.check("k", "r")).unwrap().is_allowed()).count();
        // A bucket has a reserve.
        let most = if algorithm == Algorithm::TokenBucket { 9_000 } else { 10_000 };
        assert_eq!(allowed, most, "{algorithm}");
        let stats = leases.stats();
        assert!(stats.allowed > 8_000 && stats.fetched < 200, "{algorithm}: {stats:?}");
    }
}
