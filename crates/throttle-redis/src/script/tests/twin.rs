//! The script and core's arithmetic on the same random histories.

use std::{env, sync::Arc, time::Duration};

use throttle_core::{
    Algorithm, Charge, CheckedRule, Key, MAX_LIMIT, MAX_WINDOW, Micros, Receipt, Refund, Rule,
};

use super::{model::Model, random::Random, server::Server};
use crate::script::{Op, request::MAX_TIME};

const YEAR_2026: u64 = 1_767_225_600_000_000;

/// The number of histories. `TWIN_HISTORIES` sets another number, and `TWIN_SEED` repeats one that failed.
const HISTORIES: u64 = 250;
const STEPS: usize = 100;

#[test]
fn the_script_gives_the_same_answers_as_core() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    let mut server = Server::start();
    let seeds = match number("TWIN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TWIN_HISTORIES").unwrap_or(HISTORIES),
    };
    let (mut allowed, mut denied) = (0, 0);
    for seed in seeds {
        let mut twins = Twins::new(&mut server, seed);
        for _ in 0..STEPS {
            twins.step();
        }
        allowed += twins.allowed;
        denied += twins.denied;
        server.send::<()>("FLUSHALL");
    }
    assert!(allowed > denied / 10 && denied > allowed / 10, "{allowed} allowed, {denied} denied");
}

struct Charged {
    slot: usize,
    rule: Arc<CheckedRule>,
    cost: u64,
    receipt: Option<Receipt>,
}

struct Twins<'a> {
    server: &'a mut Server,
    model: Model,
    random: Random,
    seed: u64,
    slots: Vec<Arc<CheckedRule>>,
    charged: Vec<Charged>,
    now: u64,
    /// The last wait that was returned.
    last_wait: u64,
    /// The clock is near the epoch. A step back moves all entries of a log to the epoch, where receipts do not
    /// distinguish them.
    near_epoch: bool,
    allowed: u32,
    denied: u32,
}

impl<'a> Twins<'a> {
    fn new(server: &'a mut Server, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let near_epoch = random.one_in(10);
        let mut now = YEAR_2026 + random.below(3_600_000_000);
        if near_epoch {
            now = random.below(1 << 20);
        }
        let slots = (0..random.below(4) + 1).map(|slot| rule(&mut random, slot)).collect();
        let (model, charged) = (Model::default(), Vec::new());
        let last_wait = 0;
        Self {
            server,
            model,
            random,
            seed,
            slots,
            charged,
            now,
            last_wait,
            near_epoch,
            allowed: 0,
            denied: 0,
        }
    }

    fn step(&mut self) {
        self.pass_time();
        match self.random.below(20) {
            0 => {
                let slot = self.random.below(self.slots.len() as u64) as usize;
                self.slots[slot] = rule(&mut self.random, slot as u64);
            }
            1..4 => self.refund(),
            4 => self.ask(Op::Peek),
            _ => self.ask(Op::Acquire),
        }
        self.peek_all();
        self.compare_keys();
    }

    /// Asserts that the expected keys exist, have a lifetime, and have the tag of core's codec.
    fn compare_keys(&mut self) {
        let mut keys: Vec<String> = self.server.send("KEYS *");
        keys.sort_unstable();
        assert_eq!(keys, self.model.keys(), "TWIN_SEED={}", self.seed);
        for key in keys {
            let left: i64 = self.server.send(&format!("PTTL {key}"));
            // The lifetime of the state, which is at least a millisecond, plus the margin of a minute.
            assert!(left > 50_000, "TWIN_SEED={}: {key} is kept for {left} ms", self.seed);
            let expected = self.model.tag(&key);
            let is_log = self.server.send::<String>(&format!("TYPE {key}")) == "list";
            let first = if is_log { "LINDEX KEY 0" } else { "GETRANGE KEY 0 0" };
            let state: Vec<u8> = self.server.send(&first.replace("KEY", &key));
            assert_eq!(state[0], expected, "TWIN_SEED={}: the tag of {key}", self.seed);
        }
    }

    fn pass_time(&mut self) {
        let slot = self.random.below(self.slots.len() as u64) as usize;
        let (window, limit) = (self.slots[slot].window().get(), self.slots[slot].limit());
        let span = match self.random.below(12) {
            0..4 => 0,
            4 => self.random.below(10),
            5 => window / limit + self.random.below(2),
            6 => self.random.below(window + 1),
            7 => window,
            8 => self.random.below(3 * window),
            _ => (self.last_wait + self.random.below(3)).saturating_sub(1),
        };
        self.now = if self.random.one_in(20) {
            let back = if self.random.one_in(5) { self.random.below(self.now) } else { span };
            self.now.saturating_sub(back)
        } else {
            (self.now + span).min(MAX_TIME.get())
        };
        if self.now > MAX_TIME.get() / 4 * 3 {
            self.now = YEAR_2026;
        }
    }

    fn ask(&mut self, op: Op) {
        let mut asked = Vec::new();
        for slot in 0..self.slots.len() {
            if asked.is_empty() || self.random.one_in(2) {
                asked.push((slot, self.cost(slot)));
            }
        }
        let outcome = self.compare(op, &asked);
        for (i, verdict) in outcome.iter().enumerate() {
            self.last_wait = verdict.retry_after.unwrap_or(verdict.reset_after).get();
            if verdict.allowed {
                self.allowed += 1
            } else {
                self.denied += 1
            }
            if verdict.receipt.is_some() {
                let (slot, cost) = asked[i];
                let rule = Arc::clone(&self.slots[slot]);
                self.charged.push(Charged { slot, rule, cost, receipt: verdict.receipt });
            }
        }
    }

    fn cost(&mut self, slot: usize) -> u64 {
        let capacity = self.slots[slot].capacity();
        match self.random.below(16) {
            0 => capacity,
            1 => capacity + 1,
            2 => u64::MAX,
            3..6 => self.random.below(capacity) + 1,
            6 => self.random.below(capacity / 2 + 1) + 1,
            _ => 1,
        }
    }

    fn peek_all(&mut self) {
        let all: Vec<_> = (0..self.slots.len()).map(|slot| (slot, 1)).collect();
        self.compare(Op::Peek, &all);
    }

    fn compare(&mut self, op: Op, asked: &[(usize, u64)]) -> Vec<throttle_core::Verdict> {
        let keys: Vec<_> = asked.iter().map(|(slot, _)| key(*slot)).collect();
        let charge = |(i, (slot, cost)): (usize, &(usize, u64))| {
            Charge::new(&keys[i], &self.slots[*slot], *cost)
        };
        let charges: Vec<_> = asked.iter().enumerate().map(charge).collect();
        let now = Micros::new(self.now);
        let expected = self.model.acquire(op, &charges, now);
        let answer = self.server.acquire(op, &charges, Some(now)).unwrap();
        let what = || format!("TWIN_SEED={}, {op:?} {:?} at {}", self.seed, asked, self.now);
        for (slot, (got, want)) in answer.verdicts().iter().zip(expected.verdicts()).enumerate() {
            assert_eq!(got, want, "{}: {:?}", what(), self.slots[asked[slot].0]);
        }
        assert_eq!(answer.verdicts().len(), expected.verdicts().len(), "{}", what());
        assert_eq!(answer.at(), expected.at(), "{}", what());
        answer.verdicts().to_vec()
    }

    fn refund(&mut self) {
        let mut refunded = Vec::new();
        for _ in 0..=self.random.below(2) {
            if self.charged.is_empty() {
                break;
            }
            let recent = self.random.below(self.charged.len().min(8) as u64) as usize;
            let charged = self.charged.remove(self.charged.len() - 1 - recent);
            if refunded.iter().all(|one: &Charged| one.slot != charged.slot) {
                refunded.push(charged);
            }
        }
        for one in &mut refunded {
            let is_log = one.rule.algorithm() == Algorithm::SlidingWindowLog;
            if self.random.one_in(4) || self.near_epoch && is_log {
                one.receipt = None;
            }
            if self.random.one_in(4) {
                one.cost = self.random.below(one.cost) + 1;
            }
            if self.random.one_in(4) {
                one.rule = Arc::clone(&self.slots[one.slot]);
            }
        }
        let keys: Vec<_> = refunded.iter().map(|one| key(one.slot)).collect();
        let refunds: Vec<_> = refunded
            .iter()
            .zip(&keys)
            .map(|(one, key)| Refund::new(Charge::new(key, &one.rule, one.cost), one.receipt))
            .collect();
        if !refunds.is_empty() {
            self.model.refund(&refunds, Micros::new(self.now));
            self.server.refund(&refunds, Some(Micros::new(self.now))).unwrap();
        }
    }
}

fn key(slot: usize) -> Key<'static> {
    Key::from(format!("client {slot}"))
}

/// Returns a random rule with small, ordinary or extreme numbers.
fn rule(random: &mut Random, slot: u64) -> Arc<CheckedRule> {
    loop {
        let algorithm = Algorithm::ALL[random.below(Algorithm::ALL.len() as u64) as usize];
        let is_log = algorithm == Algorithm::SlidingWindowLog;
        let limit = match random.below(6) {
            _ if is_log => random.below(20) + 1,
            0..3 => random.below(7) + 1,
            3 => random.below(1_000) + 1,
            4 => random.below(MAX_LIMIT) + 1,
            _ => MAX_LIMIT,
        };
        let window = match random.below(8) {
            0 => Duration::from_millis(1),
            1 => Duration::from_secs(1),
            2 => Duration::from_secs(60),
            3 => Duration::from_micros(random.below(10_000_000) + 1_000),
            4 => Duration::from_micros(1_001),
            5 => Duration::from_secs(86_400),
            6 => MAX_WINDOW - Duration::from_micros(random.below(1_000)),
            _ => MAX_WINDOW,
        };
        let mut rule = Rule::new(format!("rule {slot}"), limit, window).algorithm(algorithm);
        let is_bucket = matches!(algorithm, Algorithm::TokenBucket | Algorithm::LeakyBucket);
        if is_bucket && random.one_in(2) {
            let most = if random.one_in(2) { 10 } else { MAX_LIMIT };
            rule = rule.burst(random.below(most) + 1);
        }
        if random.one_in(3) {
            rule = rule.block(match random.below(4) {
                0 => Duration::from_millis(1),
                1 => MAX_WINDOW,
                _ => Duration::from_micros(random.below(100_000_000) + 1_000),
            });
        }
        if let Ok(rule) = rule.check() {
            let longest = match random.below(6) {
                0 => random.below(2_000),
                1 => random.below(10_000_000),
                2 => random.below(u64::try_from(window.as_micros()).unwrap()),
                _ => u64::MAX,
            };
            return Arc::new(rule.with_max_delay(Duration::from_micros(longest)));
        }
    }
}
