//! An oracle that counts allowed calls independently of the limiters, and checks them against the
//! rules.
//!
//! It uses only the results that a caller sees (allowed or denied) and their times. It runs on its
//! own thread, so the load does not wait for it.

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

/// The interval of checks.
const INTERVAL: Duration = Duration::from_millis(1_000);
/// The time for which records are kept: the period that rejections look back, plus the delay until
/// they are judged.
const KEPT: u64 = 16_000_000;
/// The step back of the clock that is reported; the time around it is not judged.
const STEP: i128 = 2_000;

/// An event of the load or of the faults.
#[derive(Debug)]
pub(crate) enum Event {
    /// A call was allowed, by the shared storage or by an instance alone.
    Allowed { rule: usize, key: u32, alone: Option<usize>, call: Call },
    /// The shared storage denied a call of a key that is never refunded.
    Denied { rule: usize, key: u32, call: Call },
    /// A refund of this cost is in progress.
    Refunded { rule: usize, key: u32, call: Call },
    /// A reset is in progress. It takes effect by the end of the call or soon after.
    Reset { rule: usize, key: u32, call: Call },
    /// A rule is about to be replaced.
    Changed { rule: usize, at: u64, bound: Bound },
    /// Redis loses all its data.
    Lost { from: u64, to: u64 },
    /// Redis may lose some of its data.
    PartlyLost { from: u64, to: u64 },
    /// A fault or a failed call: the charges of this time are unknown.
    Trouble { from: u64, to: u64 },
    /// The last event.
    Over,
}

/// A ledger per key and rule, and the history of the rules.
#[derive(Debug)]
pub(crate) struct Oracle {
    slots: Vec<Slot>,
    servers: u64,
    /// The bounds of the shared storage; the bounds of single instances are the same without
    /// Redis's losses.
    timelines: Vec<Timeline>,
    ledgers: HashMap<(usize, u32), Ledger>,
    trouble: Vec<Gap>,
    /// The wall clock minus the monotonic clock, in microseconds.
    offset: Option<i128>,
    pub(crate) violations: Vec<String>,
    /// The number of judged calls and rejections.
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

    /// Records events and judges at intervals, until the last event.
    pub(crate) fn run(mut self, events: &Receiver<Event>, tally: &Tally) -> Self {
        let began = Instant::now();
        let mut next = began + INTERVAL;
        loop {
            match events.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Event::Over) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(event) => self.note(event),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= next {
                self.check_clock(began);
                self.judge(clock::now());
                tally.set_violations(self.violations.len());
                next = Instant::now() + INTERVAL;
            }
        }
        self.judge(clock::now() + ledger::FINAL_AFTER);
        tally.set_violations(self.violations.len());
        self
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Allowed { rule, key, alone: None, call } => {
                self.judged.0 += 1;
                self.ledger(rule, key).shared.push(call);
            }
            Event::Allowed { rule, key, alone: Some(server), call } => {
                self.judged.0 += 1;
                self.ledger(rule, key).alone.entry(server).or_default().push(call);
            }
            Event::Denied { rule, key, call } => self.ledger(rule, key).rejected.push(call),
            Event::Refunded { rule, key, call } => self.ledger(rule, key).refunds.push(call),
            Event::Reset { rule, key, call } => {
                self.ledger(rule, key).resets.push(Gap::lingering(call.start, call.end));
            }
            Event::Changed { rule, at, bound } => {
                // A leased bucket is charged with a smaller burst, which depends on the limit.
                let same_counts = !self.slots[rule].is_leased();
                self.timelines[rule].change(at, bound, same_counts);
            }
            Event::Lost { from, to } => {
                self.timelines.iter_mut().for_each(|timeline| timeline.lose(from, to));
            }
            Event::PartlyLost { from, to } => self.forget_all(Gap::lingering(from, to)),
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

    /// Checks for a step back of the wall clock, which Redis uses too: the repeated time would
    /// count twice.
    fn check_clock(&mut self, began: Instant) {
        let (wall, steady) = (clock::now(), began.elapsed().as_micros());
        let offset = i128::from(wall) - i128::try_from(steady).unwrap_or(i128::MAX);
        if self.offset.is_some_and(|before| offset < before - STEP) {
            eprintln!("soak: the clock stepped back; the time around it is not judged");
            self.forget_all(Gap::lingering(wall.saturating_sub(LINGER), wall));
            self.ledgers.clear();
        }
        self.offset = Some(offset);
    }

    /// Checks every ledger against its bounds, and drops old records.
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
