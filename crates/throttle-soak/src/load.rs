//! Random calls, and their results as callers see them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use throttle_core::{Decision, Error};
use throttle_resilience::FailureMode;

use crate::{
    bound::Call,
    clock,
    oracle::Event,
    tally::Count,
    world::{Node, World},
};

/// The number of tasks that call each instance.
const TASKS: usize = 8;
/// Most requests use a few hot keys, the rest one of many cold keys.
pub(crate) const HOT: u32 = 3;
const COLD: u32 = 50_000;
/// Every third key is sometimes refunded or reset.
const REFUNDED: u32 = 3;
/// The longest duration of a call, apart from the machine's lag.
const LONGEST: Duration = Duration::from_secs(1);
/// A call without an answer by then counts as hanging.
const NEVER: Duration = Duration::from_secs(20);

/// Sends calls until the soak is over.
pub(crate) async fn load(world: Arc<World>, random: &mut fastrand::Rng) {
    let tasks: Vec<_> = (0..world.nodes.len() * TASKS)
        .map(|task| {
            let (world, random) = (Arc::clone(&world), random.fork());
            tokio::spawn(async move {
                let mut client = Client { node: &world.nodes[task / TASKS], world: &world, random };
                while !world.is_over() {
                    client.step().await;
                }
            })
        })
        .collect();
    for task in tasks {
        // A panic is counted by the hook.
        let _ = task.await;
    }
}

struct Client<'a> {
    world: &'a World,
    node: &'a Node,
    random: fastrand::Rng,
}

impl Client<'_> {
    async fn step(&mut self) {
        let key = if self.random.u8(..10) < 8 {
            self.random.u32(..HOT)
        } else {
            HOT + self.random.u32(..COLD)
        };
        let is_refunded = key.is_multiple_of(REFUNDED);
        let rule = self.random.usize(..self.world.slots.len());
        match self.random.u32(..10_000) {
            0 if is_refunded => self.reset(rule, key).await,
            1..30 if is_refunded => self.refund(rule, key).await,
            30..3_000 => {
                let other = self.random.usize(..self.world.slots.len());
                if other != rule {
                    self.check_both([rule, other], key).await;
                }
            }
            _ => self.check(rule, key).await,
        }
        // Some requests come in bursts, like real traffic.
        if self.random.u8(..4) > 0 {
            tokio::time::sleep(Duration::from_millis(self.random.u64(..6))).await;
        }
    }

    async fn check(&mut self, rule: usize, key: u32) {
        let (world, node) = (self.world, self.node);
        let name = &world.slots[rule].name;
        let word = format!("k{key}");
        let most = node.limiter.rule(name).map_or(1, |rule| rule.capacity().min(12));
        let cost = if self.random.u8(..8) == 0 { self.random.u64(1..=most) } else { 1 };
        let (call, answer) = timed(world, cost, node.limiter.check_cost(&word, name, cost)).await;
        let answer = answer.map(|decision| vec![decision]);
        self.note(&[rule], key, call, answer).await;
    }

    async fn check_both(&mut self, rules: [usize; 2], key: u32) {
        let (world, node) = (self.world, self.node);
        let names = rules.map(|rule| &world.slots[rule].name[..]);
        let word = format!("k{key}");
        let (call, answer) = timed(world, 1, node.limiter.check_all(&word, &names)).await;
        let answer = answer.map(|decisions| decisions.all().to_vec());
        self.note(&rules, key, call, answer).await;
    }

    /// Sends the result of a call to the oracle.
    async fn note(
        &mut self,
        rules: &[usize],
        key: u32,
        call: Call,
        answer: Result<Vec<Decision>, Error>,
    ) {
        let (world, tally) = (self.world, &self.world.tally);
        let decisions = match answer {
            Ok(decisions) => decisions,
            Err(error) => return self.failed(rules, call, &error),
        };
        let is_allowed = decisions.iter().all(Decision::is_allowed);
        tally.add(if is_allowed { Count::Allowed } else { Count::Denied });
        if decisions.iter().any(Decision::is_degraded) {
            tally.add(Count::Degraded);
            world.send(Event::Trouble { from: call.start, to: call.end });
        }
        let is_refunded = key.is_multiple_of(REFUNDED);
        let rolls_back = is_allowed && is_refunded && self.random.u8(..10) == 0;
        for (rule, decision) in rules.iter().copied().zip(&decisions) {
            let call = Call { cost: decision.cost(), ..call };
            let slot = &world.slots[rule];
            if decision.rule() != slot.name {
                world.wrong(format!("{} was checked, but {} decided", slot.name, decision.rule()));
            }
            if decision.is_degraded() {
                self.degraded(rule, key, call, is_allowed);
            } else if is_allowed && !rolls_back {
                world.send(Event::Allowed { rule, key, alone: None, call });
            } else if !decision.is_allowed() && !is_refunded && !slot.blocks() {
                world.send(Event::Denied { rule, key, call });
            }
        }
        if rolls_back {
            // A rollback in flight may or may not have been applied, so such calls are not judged.
            tally.add(Count::RolledBack);
            if self.random.u8(..4) == 0 {
                tokio::time::sleep(Duration::from_millis(self.random.u64(..400))).await;
            }
            let _ = self.node.limiter.rollback(&format!("k{key}"), &decisions).await;
        }
    }

    /// Checks a decision made without the storage against the failure mode of its rule.
    fn degraded(&self, rule: usize, key: u32, call: Call, is_allowed: bool) {
        let (world, node) = (self.world, self.node);
        match node.modes[rule] {
            FailureMode::Local if is_allowed => {
                world.send(Event::Allowed { rule, key, alone: Some(node.number), call });
            }
            FailureMode::Local | FailureMode::FailOpen => {}
            _ => world.wrong(format!(
                "server {}: the rule {} fails closed, but was decided without the storage",
                node.number, world.slots[rule].name
            )),
        }
    }

    fn failed(&self, rules: &[usize], call: Call, error: &Error) {
        let world = self.world;
        world.tally.add(Count::Errors);
        world.send(Event::Trouble { from: call.start, to: call.end });
        let is_closed = rules.iter().any(|rule| self.node.modes[*rule] == FailureMode::FailClosed);
        if !matches!(error, Error::Storage(_)) || !is_closed {
            let names: Vec<_> = rules.iter().map(|rule| &world.slots[*rule].name).collect();
            world.wrong(format!(
                "rules {names:?} failed, although none of them fails closed: {error}"
            ));
        }
    }

    async fn reset(&mut self, rule: usize, key: u32) {
        let (word, name) = (format!("k{key}"), &self.world.slots[rule].name);
        self.world.tally.add(Count::Resets);
        let start = clock::now();
        // Sent before the reset as well, for requests that are allowed right after it.
        self.world.send(Event::Reset { rule, key, call: Call { start, end: start, cost: 0 } });
        let _ = self.node.limiter.reset(&word, name).await;
        self.world.send(Event::Reset {
            rule,
            key,
            call: Call { start, end: clock::now(), cost: 0 },
        });
    }

    async fn refund(&mut self, rule: usize, key: u32) {
        let (word, name) = (format!("k{key}"), &self.world.slots[rule].name);
        self.world.tally.add(Count::Refunds);
        let cost = self.random.u64(1..4);
        let start = clock::now();
        self.world.send(Event::Refunded { rule, key, call: Call { start, end: start, cost } });
        let _ = self.node.limiter.refund(&word, name, cost).await;
    }
}

/// Waits for an answer, and returns its start and end.
async fn timed<T>(
    world: &World,
    cost: u64,
    call: impl Future<Output = Result<T, Error>>,
) -> (Call, Result<T, Error>) {
    let (began, start) = (Instant::now(), clock::now());
    world.tally.add(Count::Calls);
    let answer = tokio::time::timeout(NEVER, call).await;
    let (end, took) = (clock::now().max(start), began.elapsed());
    world.tally.took(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    if took > LONGEST && took > LONGEST + world.lag.since(began) {
        world.wrong(format!(
            "a call took {took:?}, the machine lagged by {:?}",
            world.lag.since(began)
        ));
    }
    let answer = answer.unwrap_or_else(|_| {
        let never = throttle_core::StorageError::other("no answer arrived");
        Err(Error::Storage(never))
    });
    (Call { start, end, cost }, answer)
}
