//! Counts what was admitted, beside the limiters, and holds it to what they state.
//!
//! It knows no receipt and no answer of the storage but "admitted" and "refused": only what a caller
//! sees, and when. It runs on a thread of its own, so that the load does not wait for it.

mod ledger;
mod timeline;

use std::{
    collections::HashMap,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use self::{
    ledger::{Ledger, View},
    timeline::{Gap, LINGER, Timeline},
};
use crate::{
    bound::{Bound, Call},
    clock,
    rules::Slot,
    tally::Tally,
};

/// How often all ledgers are checked.
const TURN: Duration = Duration::from_millis(1_000);
/// How long is kept what may still count: as far as refusals look back, and until they are judged.
const KEPT: u64 = 16_000_000;
/// A clock that stepped back by more than this is told of, and what it blurs is not judged.
const STEP: i128 = 2_000;

/// Tells what happened.
#[derive(Debug)]
pub(crate) enum Event {
    /// A call was admitted: by the storage that all share, or by a server alone.
    Admitted { rule: usize, key: u32, alone: Option<usize>, call: Call },
    /// The shared storage refused, and nothing is ever given back to this key.
    Refused { rule: usize, key: u32, call: Call },
    /// So much of the latest charges is being given back.
    Refunded { rule: usize, key: u32, call: Call },
    /// What was counted is being forgotten, by the end of the call or soon after.
    Reset { rule: usize, key: u32, call: Call },
    /// A rule is about to be replaced.
    Changed { rule: usize, at: u64, bound: Bound },
    /// Redis loses all its data.
    Lost { from: u64, to: u64 },
    /// Redis may lose some of its data.
    Blurred { from: u64, to: u64 },
    /// Something is broken, or a call failed: what was charged meanwhile is not known.
    Trouble { from: u64, to: u64 },
    /// Nothing more comes.
    Over,
}

/// Holds a ledger for each key under a rule, and what is known about the rules.
#[derive(Debug)]
pub(crate) struct Oracle {
    slots: Vec<Slot>,
    servers: u64,
    /// Of the shared storage; servers alone have the same without what Redis lost.
    timelines: Vec<Timeline>,
    ledgers: HashMap<(usize, u32), Ledger>,
    trouble: Vec<Gap>,
    /// The wall clock less the one that never steps, in microseconds.
    offset: Option<i128>,
    pub(crate) violations: Vec<String>,
    /// How many calls were judged, and how many refusals.
    pub(crate) judged: (u64, u64),
}

impl Oracle {
    pub(crate) fn new(slots: Vec<Slot>, servers: usize) -> Self {
        let timelines = slots.iter().map(|slot| Timeline::new(slot.bound())).collect();
        let (ledgers, trouble, violations) = Default::default();
        let servers = servers as u64;
        Self {
            slots,
            servers,
            timelines,
            ledgers,
            trouble,
            offset: None,
            violations,
            judged: (0, 0),
        }
    }

    /// Takes note of events and judges once in a while, until nothing more comes.
    pub(crate) fn run(mut self, events: &Receiver<Event>, tally: &Tally) -> Self {
        let began = Instant::now();
        let mut next = began + TURN;
        loop {
            match events.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Event::Over) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(event) => self.note(event),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= next {
                self.look_at_clock(began);
                self.judge(clock::now());
                tally.set_violations(self.violations.len());
                next = Instant::now() + TURN;
            }
        }
        self.judge(clock::now() + ledger::SETTLED);
        tally.set_violations(self.violations.len());
        self
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Admitted { rule, key, alone: None, call } => {
                self.judged.0 += 1;
                self.ledger(rule, key).shared.push(call);
            }
            Event::Admitted { rule, key, alone: Some(server), call } => {
                self.judged.0 += 1;
                self.ledger(rule, key).alone.entry(server).or_default().push(call);
            }
            Event::Refused { rule, key, call } => self.ledger(rule, key).refused.push(call),
            Event::Refunded { rule, key, call } => self.ledger(rule, key).refunds.push(call),
            Event::Reset { rule, key, call } => {
                self.ledger(rule, key).resets.push(Gap::lingering(call.start, call.end));
            }
            Event::Changed { rule, at, bound } => {
                // A leased bucket is charged by a smaller burst, which the limit has a part in.
                let same_counts = !self.slots[rule].is_leased();
                self.timelines[rule].change(at, bound, same_counts);
            }
            Event::Lost { from, to } => {
                self.timelines.iter_mut().for_each(|timeline| timeline.lose(from, to));
            }
            Event::Blurred { from, to } => self.forget_all(Gap::lingering(from, to)),
            Event::Trouble { from, to } => self.trouble.push(Gap::lingering(from, to)),
            Event::Over => {}
        }
    }

    fn ledger(&mut self, rule: usize, key: u32) -> &mut Ledger {
        self.ledgers.entry((rule, key)).or_default()
    }

    fn forget_all(&mut self, gap: Gap) {
        for timeline in &mut self.timelines {
            timeline.forget(gap);
        }
    }

    /// Limits hold by the wall clock, which Redis goes by: one that steps back runs twice.
    fn look_at_clock(&mut self, began: Instant) {
        let (wall, steady) = (clock::now(), began.elapsed().as_micros());
        let offset = i128::from(wall) - i128::try_from(steady).unwrap_or(i128::MAX);
        if self.offset.is_some_and(|before| offset < before - STEP) {
            eprintln!("soak: the clock stepped back; what it blurs is not judged");
            self.forget_all(Gap::lingering(wall.saturating_sub(LINGER), wall));
            self.ledgers.clear();
        }
        self.offset = Some(offset);
    }

    /// Holds every ledger to its bounds, and drops what no longer counts.
    fn judge(&mut self, now: u64) {
        let before = now.saturating_sub(KEPT);
        for ((rule, key), ledger) in &mut self.ledgers {
            let (slot, timeline) = (&self.slots[*rule], &self.timelines[*rule]);
            let view = View { slot, timeline, servers: self.servers, trouble: &self.trouble };
            let (judged, found) = view.judge(ledger, now);
            self.judged.1 += judged;
            for what in found {
                let what = format!("rule {}, key {key}: {what}", slot.name);
                eprintln!("soak: VIOLATION: {what}");
                self.violations.push(what);
            }
            ledger.prune(before);
        }
        self.ledgers.retain(|_, ledger| !ledger.is_empty());
        self.trouble.retain(|gap| gap.to >= before);
        for timeline in &mut self.timelines {
            timeline.prune(before);
        }
    }
}

#[cfg(test)]
mod tests;
