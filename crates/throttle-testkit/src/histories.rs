//! Random histories of a key under rules with the same name and different algorithms.

use std::{sync::Arc, time::Duration};

use throttle_core::{Algorithm, AtomicStorage, Decision, Limiter, ManualClock, Rule, Storage};
use throttle_memory::MemoryStorage;

use crate::fixtures::{limiter_at_2026, unique};

const HISTORIES: u64 = 24;
const STEPS: usize = 50;
/// The groups of algorithms that share their state. A history uses at most one algorithm of each group.
const CLASSES: [&[Algorithm]; 4] = [
    &[Algorithm::FixedWindow],
    &[Algorithm::SlidingWindowCounter],
    &[Algorithm::SlidingWindowLog],
    &[Algorithm::TokenBucket, Algorithm::LeakyBucket],
];

pub(crate) async fn check(storage: &Arc<dyn AtomicStorage>) -> usize {
    for seed in 0..HISTORIES {
        History::new(storage, seed).run().await;
        a_peek_does_not_change_later_decisions(storage, seed).await;
    }
    2
}

/// Servers with different algorithms for the same rule, and a model with a separate rule for each server.
struct History {
    seed: u64,
    random: Random,
    clock: ManualClock,
    key: String,
    servers: Vec<Limiter>,
    model: Limiter,
    charged: Vec<Charged>,
}

/// The charges of a request: in the storage, and in the model.
struct Charged {
    server: usize,
    by_both_rules: bool,
    decisions: Vec<Decision>,
    expected: Vec<Decision>,
}

impl History {
    fn new(storage: &Arc<dyn AtomicStorage>, seed: u64) -> Self {
        let mut random = Random(seed);
        let mut classes = CLASSES.to_vec();
        classes.swap_remove(random.below(4) as usize);
        let memory: Arc<dyn AtomicStorage> = Arc::new(MemoryStorage::new()).atomic();
        let (model, clock) = limiter_at_2026(&memory);
        let other = |name: &str| Rule::new(name, 30, Duration::from_secs(20));
        model.add_rule(other("other")).unwrap();
        let mut servers = Vec::new();
        for (number, class) in classes.iter().enumerate() {
            let algorithm = class[random.below(class.len() as u64) as usize];
            let (limit, window) = (random.below(8) + 1, random.below(9_000) + 1_000);
            let rule = |name: String| {
                Rule::new(name, limit, Duration::from_millis(window)).algorithm(algorithm)
            };
            let server = Limiter::builder(Arc::clone(storage)).clock(clock.clone()).build();
            server.add_rule(rule("r".to_owned())).unwrap();
            server.add_rule(other("other")).unwrap();
            model.add_rule(rule(format!("r{number}"))).unwrap();
            servers.push(server);
        }
        let (key, charged) = (unique("history"), Vec::new());
        Self { seed, random, clock, key, servers, model, charged }
    }

    async fn run(mut self) {
        for step in 0..STEPS {
            let server = self.random.below(self.servers.len() as u64) as usize;
            match self.random.below(16) {
                0..3 => self.undo_or_reconcile(step).await,
                3 => self.reset_or_refund(server).await,
                4 => self.check_both(server, step).await,
                5..9 => self.advance(),
                _ => self.check(server, step).await,
            }
            for server in 0..self.servers.len() {
                let decision = self.servers[server].peek(&self.key, "r").await.unwrap();
                let expected = self.model.peek(&self.key, &name(server)).await.unwrap();
                self.compare(&decision, &expected, step);
            }
        }
    }

    fn advance(&mut self) {
        let span = match self.random.below(8) {
            0 => self.random.below(20_000_000),
            1..4 => self.random.below(2_000_000),
            _ => self.random.below(200_000),
        };
        self.clock.advance(Duration::from_micros(span));
    }

    async fn check(&mut self, server: usize, step: usize) {
        let cost = if self.random.below(3) > 0 { 1 } else { self.random.below(9) + 1 };
        let decision = self.servers[server].check_cost(&self.key, "r", cost).await.unwrap();
        let expected = self.model.check_cost(&self.key, &name(server), cost).await.unwrap();
        self.compare(&decision, &expected, step);
        let (decisions, expected) = (vec![decision], vec![expected]);
        self.charged.push(Charged { server, by_both_rules: false, decisions, expected });
    }

    async fn check_both(&mut self, server: usize, step: usize) {
        let rules = ["r", "other"];
        let decisions = self.servers[server].check_all(&self.key, &rules).await.unwrap();
        let rules = [&name(server), "other"];
        let expected = self.model.check_all(&self.key, &rules).await.unwrap();
        for (decision, expected) in decisions.all().iter().zip(expected.all()) {
            self.compare(decision, expected, step);
        }
        let (decisions, expected) = (decisions.all().to_vec(), expected.all().to_vec());
        self.charged.push(Charged { server, by_both_rules: true, decisions, expected });
    }

    async fn undo_or_reconcile(&mut self, step: usize) {
        if self.charged.is_empty() {
            return;
        }
        let recent = self.random.below(self.charged.len().min(6) as u64) as usize;
        let charged = self.charged.remove(self.charged.len() - 1 - recent);
        let server = &self.servers[charged.server];
        if charged.by_both_rules || self.random.below(2) == 0 {
            server.rollback(&self.key, &charged.decisions).await.unwrap();
            self.model.rollback(&self.key, &charged.expected).await.unwrap();
            return;
        }
        let actual = self.random.below(8);
        let left = server.reconcile(&self.key, &charged.decisions, actual).await.unwrap();
        let expected = self.model.reconcile(&self.key, &charged.expected, actual).await.unwrap();
        assert_eq!(left, expected, "{}", self.at(step));
    }

    async fn reset_or_refund(&mut self, server: usize) {
        if self.random.below(3) > 0 {
            let cost = self.random.below(4) + 1;
            self.servers[server].refund(&self.key, "r", cost).await.unwrap();
            self.model.refund(&self.key, &name(server), cost).await.unwrap();
            return;
        }
        self.servers[server].reset(&self.key, "r").await.unwrap();
        for server in 0..self.servers.len() {
            self.model.reset(&self.key, &name(server)).await.unwrap();
        }
        self.charged.clear();
    }

    fn compare(&self, decision: &Decision, expected: &Decision, step: usize) {
        assert_eq!(answer(decision), answer(expected), "{}", self.at(step));
    }

    fn at(&self, step: usize) -> String {
        let rule = |server: &Limiter| format!("{:?}", server.rule("r"));
        let rules: Vec<_> = self.servers.iter().map(rule).collect();
        format!("history {}, step {step}, rules {rules:?}", self.seed)
    }
}

/// Checks that peeks by another rule of the same name do not change decisions.
async fn a_peek_does_not_change_later_decisions(storage: &Arc<dyn AtomicStorage>, seed: u64) {
    let mut random = Random(seed);
    let mut rule = || {
        let algorithm = Algorithm::ALL[random.below(5) as usize];
        let window = Duration::from_millis(random.below(9_000) + 1_000);
        Rule::new("r", random.below(8) + 1, window).algorithm(algorithm)
    };
    let (limiter, clock) = limiter_at_2026(storage);
    let peeks = Limiter::builder(Arc::clone(storage)).clock(clock.clone()).build();
    limiter.add_rule(rule()).unwrap();
    peeks.add_rule(rule()).unwrap();
    let keys = [unique("peeked"), unique("not-peeked")];
    let mut charged: Vec<[Decision; 2]> = Vec::new();
    for step in 0..STEPS {
        match random.below(8) {
            0 => clock.advance(Duration::from_micros(random.below(3_000_000))),
            1 if !charged.is_empty() => {
                let decisions = charged.swap_remove(random.below(charged.len() as u64) as usize);
                for (key, decision) in keys.iter().zip(&decisions) {
                    limiter.rollback(key, std::slice::from_ref(decision)).await.unwrap();
                }
            }
            _ => {
                let cost = random.below(3) + 1;
                let peeked = limiter.check_cost(&keys[0], "r", cost).await.unwrap();
                let expected = limiter.check_cost(&keys[1], "r", cost).await.unwrap();
                let rules = [limiter.rule("r"), peeks.rule("r")];
                assert_eq!(
                    answer(&peeked),
                    answer(&expected),
                    "history {seed}, step {step}: a peek by the second of {rules:?} changed a decision by the first"
                );
                charged.push([peeked, expected]);
            }
        }
        peeks.peek(&keys[0], "r").await.unwrap();
    }
}

fn name(server: usize) -> String {
    format!("r{server}")
}

/// Returns the answer of a decision, without its rule.
fn answer(decision: &Decision) -> (bool, u64, [Option<Duration>; 3]) {
    let waits = [Some(decision.reset_after()), decision.retry_after(), Some(decision.delay())];
    (decision.is_allowed(), decision.remaining(), waits)
}

/// A deterministic random number generator: SplitMix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }
}
