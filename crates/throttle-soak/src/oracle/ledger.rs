//! The record of one key under one rule, and how it is judged.

use std::collections::HashMap;

use throttle_core::Algorithm;

use crate::{
    bound::{Bound, Call},
    oracle::timeline::{Gap, LEAD, LINGER, Timeline},
    rules::Slot,
};

/// The time after which every call that began earlier has reported its result.
pub(crate) const FINAL_AFTER: u64 = 2_000_000;

/// The calls of one key under one rule that may still count.
#[derive(Default, Debug)]
pub(crate) struct Ledger {
    pub(crate) shared: Vec<Call>,
    /// Calls allowed locally while the shared storage was down, by instance.
    pub(crate) alone: HashMap<usize, Vec<Call>>,
    pub(crate) rejected: Vec<Call>,
    pub(crate) refunds: Vec<Call>,
    pub(crate) resets: Vec<Gap>,
}

/// The data that a ledger is judged against.
#[derive(Copy, Clone, Debug)]
pub(crate) struct View<'a> {
    pub(crate) slot: &'a Slot,
    pub(crate) timeline: &'a Timeline,
    pub(crate) servers: u64,
    pub(crate) trouble: &'a [Gap],
}

impl View<'_> {
    /// Returns the number of judged rejections, and the violations. Each violation is reported
    /// once: its calls are dropped, and their time is not judged again.
    pub(crate) fn judge(&self, ledger: &mut Ledger, now: u64) -> (u64, Vec<String>) {
        let mut found = Vec::new();
        let refunded = ledger.refunds.iter().map(|call| call.cost).sum();
        if let Some(what) = self.too_many(&ledger.shared, &ledger.resets, refunded, |bound| bound) {
            found.push(format!("all instances together: {what}"));
            ledger.shared.clear();
            ledger.resets.push(Gap { from: 0, to: now });
        }
        for (server, calls) in &mut ledger.alone {
            let share = |bound: Bound| bound.share(self.servers);
            if let Some(what) = self.too_many(calls, &ledger.resets, refunded, share) {
                found.push(format!("instance {server} by its local share: {what}"));
                calls.clear();
            }
        }
        let judged = self.rejections(ledger, now, &mut found);
        (judged, found)
    }

    fn too_many(
        &self,
        calls: &[Call],
        resets: &[Gap],
        refunded: u64,
        by: impl Fn(Bound) -> Bound,
    ) -> Option<String> {
        let stretches = self.timeline.stretches(calls, resets);
        stretches.into_iter().find_map(|(bound, calls)| {
            let bound = by(bound);
            let excess = bound.exceeded(&calls, refunded)?;
            Some(format!("{excess:?}, {refunded} were refunded, by {bound:?}"))
        })
    }

    /// Judges rejections that are final: enough must have been charged for each, if nothing failed.
    fn rejections(&self, ledger: &mut Ledger, now: u64, found: &mut Vec<String>) -> u64 {
        let is_final = |call: &Call| call.end + FINAL_AFTER < now;
        let mut judged = 0;
        for rejected in ledger.rejected.iter().filter(|call| is_final(call)) {
            let from = rejected.start.saturating_sub(LEAD);
            if ledger.resets.iter().chain(self.trouble).any(|gap| gap.overlaps(from, rejected.end))
            {
                continue;
            }
            let Some((least, counted)) = self.required_charges(rejected) else { continue };
            judged += 1;
            let charged = ledger.shared.iter().filter(|call| {
                call.end >= rejected.start.saturating_sub(counted) && call.start <= rejected.end
            });
            let charged: u64 = charged.map(|call| call.cost).sum();
            if charged + rejected.cost <= least {
                found.push(format!(
                    "rejected too early: {rejected:?}, with at most {charged} counted charges, \
                     but at least {least} are required"
                ));
            }
        }
        ledger.rejected.retain(|call| !is_final(call));
        judged
    }

    /// Returns how much must have been charged together with a rejected call, and within how long
    /// before it; `None` if nothing can be concluded.
    fn required_charges(&self, rejected: &Call) -> Option<(u64, u64)> {
        let whole_by = |bound: &Bound| match bound.algorithm {
            Algorithm::TokenBucket | Algorithm::LeakyBucket => bound.burst,
            _ => bound.limit,
        };
        let counted_by = |bound: &Bound| match bound.algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindowLog => bound.window,
            Algorithm::SlidingWindowCounter => 2 * bound.window,
            // The time in which a full bucket drains: earlier charges no longer count.
            _ => (bound.burst * bound.window).div_ceil(bound.limit),
        };
        let mut bounds =
            self.timeline.in_force(rejected.start.saturating_sub(LEAD), rejected.end)?;
        let is_bucket = bounds.iter().any(Bound::is_bucket);
        if is_bucket {
            let from = rejected.start.saturating_sub(LEAD + LINGER);
            bounds = self.timeline.in_force(from, rejected.end)?;
        }
        let counted = bounds.iter().map(counted_by);
        // Charges under a larger burst are still in a bucket when the burst is lowered, and drain
        // first.
        let counted = if is_bucket { counted.sum() } else { counted.max()? };
        let held = match self.slot.lease_budget() {
            None => 0,
            Some(lease_budget) if bounds.iter().all(|b| b.algorithm == Algorithm::FixedWindow) => {
                bounds.iter().map(|bound| lease_budget.of(bound.limit)).max()?
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
            && self.rejected.is_empty()
            && self.refunds.is_empty()
            && self.resets.is_empty()
    }

    /// Drops records that ended before a moment.
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
