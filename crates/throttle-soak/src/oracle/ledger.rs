//! What is known of one key under one rule, and how it is judged.

use std::collections::HashMap;

use throttle_core::Algorithm;

use crate::{
    bound::{Bound, Call},
    oracle::timeline::{Gap, LEAD, LINGER, Timeline},
    rules::Slot,
};

/// By then every call that began earlier has told what came of it.
pub(crate) const SETTLED: u64 = 2_000_000;

/// Holds the calls of one key under one rule that may still count.
#[derive(Default, Debug)]
pub(crate) struct Ledger {
    pub(crate) shared: Vec<Call>,
    /// By which server alone, while the shared storage was gone.
    pub(crate) alone: HashMap<usize, Vec<Call>>,
    pub(crate) refused: Vec<Call>,
    pub(crate) refunds: Vec<Call>,
    pub(crate) resets: Vec<Gap>,
}

/// What a ledger is judged by.
#[derive(Copy, Clone, Debug)]
pub(crate) struct View<'a> {
    pub(crate) slot: &'a Slot,
    pub(crate) timeline: &'a Timeline,
    pub(crate) servers: u64,
    pub(crate) trouble: &'a [Gap],
}

impl View<'_> {
    /// Returns how many refusals were judged, and what was violated. That is told once: the calls that
    /// show it are dropped, and nothing more is said of their time.
    pub(crate) fn judge(&self, ledger: &mut Ledger, now: u64) -> (u64, Vec<String>) {
        let mut found = Vec::new();
        let given_back = ledger.refunds.iter().map(|call| call.cost).sum();
        if let Some(what) = self.too_many(&ledger.shared, &ledger.resets, given_back, |bound| bound)
        {
            found.push(format!("all servers together: {what}"));
            ledger.shared.clear();
            ledger.resets.push(Gap { from: 0, to: now });
        }
        for (server, calls) in &mut ledger.alone {
            let share = |bound: Bound| bound.share(self.servers);
            if let Some(what) = self.too_many(calls, &ledger.resets, given_back, share) {
                found.push(format!("server {server} alone, by its share: {what}"));
                calls.clear();
            }
        }
        let judged = self.refusals(ledger, now, &mut found);
        (judged, found)
    }

    fn too_many(
        &self,
        calls: &[Call],
        resets: &[Gap],
        given_back: u64,
        by: impl Fn(Bound) -> Bound,
    ) -> Option<String> {
        let stretches = self.timeline.stretches(calls, resets);
        stretches.into_iter().find_map(|(bound, calls)| {
            let bound = by(bound);
            let excess = bound.exceeded(&calls, given_back)?;
            Some(format!("{excess:?}, {given_back} were given back, by {bound:?}"))
        })
    }

    /// Judges refusals that are settled: enough must have been charged for each, if nothing failed.
    fn refusals(&self, ledger: &mut Ledger, now: u64, found: &mut Vec<String>) -> u64 {
        let is_settled = |call: &Call| call.end + SETTLED < now;
        let mut judged = 0;
        for refused in ledger.refused.iter().filter(|call| is_settled(call)) {
            let from = refused.start.saturating_sub(LEAD);
            if ledger.resets.iter().chain(self.trouble).any(|gap| gap.overlaps(from, refused.end)) {
                continue;
            }
            let Some((least, counted)) = self.must_be_used_up(refused) else { continue };
            judged += 1;
            let charged = ledger.shared.iter().filter(|call| {
                call.end >= refused.start.saturating_sub(counted) && call.start <= refused.end
            });
            let charged: u64 = charged.map(|call| call.cost).sum();
            if charged + refused.cost <= least {
                found.push(format!(
                    "refused too early: {refused:?}, when at most {charged} were charged that count, \
                     of at least {least}"
                ));
            }
        }
        ledger.refused.retain(|call| !is_settled(call));
        judged
    }

    /// Returns how much must have been charged with a refused call, and within how long before it; none
    /// where nothing is stated.
    fn must_be_used_up(&self, refused: &Call) -> Option<(u64, u64)> {
        let whole_by = |bound: &Bound| match bound.algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket => bound.burst,
            _ => bound.limit,
        };
        let counted_by = |bound: &Bound| match bound.algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindowLog => bound.window,
            Algorithm::SlidingWindowCounter => 2 * bound.window,
            // A bucket that was never empty in this time has let through what is in it.
            _ => (bound.burst * bound.window).div_ceil(bound.limit),
        };
        let mut bounds = self.timeline.in_force(refused.start.saturating_sub(LEAD), refused.end)?;
        let is_bucket = bounds.iter().any(Bound::is_bucket);
        if is_bucket {
            let from = refused.start.saturating_sub(LEAD + LINGER);
            bounds = self.timeline.in_force(from, refused.end)?;
        }
        let counted = bounds.iter().map(counted_by);
        // What was taken by a greater burst is still in a bucket when it is lowered, and drains first.
        let counted = if is_bucket { counted.sum() } else { counted.max()? };
        let held = match self.slot.accuracy() {
            None => 0,
            Some(accuracy) if bounds.iter().all(|b| b.algorithm == Algorithm::FixedWindow) => {
                bounds.iter().map(|bound| accuracy.of(bound.limit)).max()?
            }
            Some(_) => return None,
        };
        let whole = bounds.iter().map(whole_by).min()?;
        Some((whole.saturating_sub(held), counted))
    }
}

impl Ledger {
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.is_empty()
            && self.alone.is_empty()
            && self.refused.is_empty()
            && self.refunds.is_empty()
            && self.resets.is_empty()
    }

    /// Drops what ended before a moment.
    pub(crate) fn prune(&mut self, before: u64) {
        let counts = |call: &Call| call.end >= before;
        self.shared.retain(counts);
        self.refunds.retain(counts);
        self.resets.retain(|gap| gap.to >= before);
        self.alone.retain(|_, calls| {
            calls.retain(counts);
            !calls.is_empty()
        });
    }
}
