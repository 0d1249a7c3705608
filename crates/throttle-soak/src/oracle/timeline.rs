//! The bounds of a rule over time, with replacements and data loss.

use crate::bound::{Bound, Call};

/// The time after which every earlier request has arrived, even if a fault delayed it, and every
/// earlier lease has ended. It is longer than any fault, and than two windows.
pub(crate) const LINGER: u64 = 8_000_000;
/// How far back a count matters: twice the longest window.
pub(crate) const LEAD: u64 = 4_000_000;

/// A rule's bounds, each with its start, and the periods that are not judged.
#[derive(Debug)]
pub(crate) struct Timeline {
    versions: Vec<(u64, Bound)>,
    gaps: Vec<Gap>,
}

/// A period in which counts were lost, or changed their meaning.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Gap {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Gap {
    /// Returns a gap that lasts until no request sent before its end is in flight.
    pub(crate) fn lingering(from: u64, to: u64) -> Self {
        Self { from, to: to + LINGER }
    }

    pub(crate) fn overlaps(self, from: u64, to: u64) -> bool {
        self.from <= to && from <= self.to
    }
}

impl Timeline {
    pub(crate) fn new(bound: Bound) -> Self {
        Self { versions: vec![(0, bound)], gaps: Vec::new() }
    }

    /// Records the replacement of a rule.
    ///
    /// If counts mean the same under both rules, the looser bound applies around the change.
    /// Otherwise nothing is judged until the old counts have expired.
    pub(crate) fn change(&mut self, at: u64, bound: Bound, same_counts: bool) {
        let old = self.last();
        if !same_counts || !old.counts_as(&bound) {
            self.forget(Gap::lingering(at, at));
        }
        let restarts = old.algorithm != bound.algorithm;
        let aligned = restarts || old.aligned && old.window == bound.window;
        self.versions.push((at, Bound { aligned, ..bound }));
    }

    /// Records the loss of all counts, after which windows are aligned again.
    pub(crate) fn lose(&mut self, from: u64, to: u64) {
        self.forget(Gap::lingering(from, to));
        let bound = self.last();
        self.versions.push((from, Bound { aligned: true, ..bound }));
    }

    fn last(&self) -> Bound {
        self.versions[self.versions.len() - 1].1
    }

    pub(crate) fn forget(&mut self, gap: Gap) {
        self.gaps.push(gap);
    }

    /// Drops records that no call after `before` needs.
    pub(crate) fn prune(&mut self, before: u64) {
        self.gaps.retain(|gap| gap.to >= before);
        let needed = self.versions.iter().rposition(|(at, _)| at + LINGER < before).unwrap_or(0);
        self.versions.drain(..needed);
    }

    /// Returns the bounds in force from `from` to `to`, if there is no gap.
    pub(crate) fn in_force(&self, from: u64, to: u64) -> Option<Vec<Bound>> {
        if self.gaps.iter().any(|gap| gap.overlaps(from, to)) {
            return None;
        }
        let first = self.versions.iter().rposition(|(at, _)| *at <= from).unwrap_or(0);
        let until = |(at, _): &&(u64, Bound)| *at <= to;
        Some(self.versions[first..].iter().take_while(until).map(|(_, bound)| *bound).collect())
    }

    /// Splits calls into intervals with one bound each; `gaps` are the key's own.
    pub(crate) fn stretches(&self, calls: &[Call], gaps: &[Gap]) -> Vec<(Bound, Vec<Call>)> {
        let gaps: Vec<_> = self.gaps.iter().chain(gaps).copied().collect();
        let mut cuts: Vec<_> = gaps.iter().flat_map(|gap| [gap.from, gap.to]).collect();
        for (at, _) in &self.versions[1..] {
            cuts.extend([at.saturating_sub(LEAD), at + LINGER]);
        }
        cuts.extend([0, u64::MAX]);
        cuts.sort_unstable();
        cuts.dedup();
        let mut stretches = Vec::new();
        for cut in cuts.windows(2) {
            let &[from, to] = cut else { continue };
            let within: Vec<_> =
                calls.iter().filter(|c| c.start > from && c.end < to).copied().collect();
            let middle = from + (to - from) / 2;
            if within.is_empty() || gaps.iter().any(|gap| gap.overlaps(middle, middle)) {
                continue;
            }
            stretches.push((self.around(middle), within));
        }
        stretches
    }

    /// Returns the loosest bound whose change is near, among those that count like the one at `at`.
    fn around(&self, at: u64) -> Bound {
        let place = self.versions.iter().rposition(|(since, _)| *since <= at).unwrap_or(0);
        let now = self.versions[place].1;
        let replaced_before =
            |i: usize| self.versions.get(i + 1).is_some_and(|(end, _)| end + LINGER < at);
        let near = self.versions.iter().enumerate().filter(|(i, (since, bound))| {
            !replaced_before(*i) && since.saturating_sub(LEAD) <= at && bound.counts_as(&now)
        });
        near.fold(now, |now, (_, (_, bound))| now.looser(*bound))
    }
}

#[cfg(test)]
mod tests {
    use throttle_core::Algorithm;

    use super::*;

    const SECOND: u64 = 1_000_000;

    fn bound(limit: u64) -> Bound {
        let (algorithm, window) = (Algorithm::SlidingWindowLog, SECOND);
        Bound { algorithm, limit, burst: limit, window, aligned: true }
    }

    fn calls(seconds: impl IntoIterator<Item = u64>) -> Vec<Call> {
        let call = |at| Call { start: at * SECOND + 1, end: at * SECOND + 2, cost: 1 };
        seconds.into_iter().map(call).collect()
    }

    #[test]
    fn around_a_change_the_looser_bound_applies_and_later_the_new_one() {
        let mut timeline = Timeline::new(bound(10));
        timeline.change(100 * SECOND, bound(3), true);
        let limits: Vec<_> = timeline
            .stretches(&calls([90, 97, 101, 107, 109, 120]), &[])
            .into_iter()
            .map(|(bound, calls)| (bound.limit, calls.len()))
            .collect();
        assert_eq!(limits, [(10, 1), (10, 3), (3, 2)]);

        timeline.change(200 * SECOND, bound(7), true);
        let limits = |at| timeline.stretches(&calls([at]), &[])[0].0.limit;
        assert_eq!([limits(190), limits(197), limits(201), limits(209)], [3, 7, 7, 7]);
    }

    #[test]
    fn a_replaced_window_is_not_aligned_until_all_counts_are_lost() {
        let mut timeline = Timeline::new(Bound { aligned: true, ..bound(10) });
        timeline.change(100 * SECOND, bound(5), true);
        assert!(timeline.last().aligned);
        timeline.change(200 * SECOND, Bound { window: SECOND / 2, ..bound(5) }, true);
        timeline.change(300 * SECOND, Bound { window: SECOND / 2, ..bound(7) }, true);
        assert!(!timeline.last().aligned);
        timeline.lose(400 * SECOND, 401 * SECOND);
        let aligned = |at| timeline.stretches(&calls([at]), &[])[0].0.aligned;
        assert_eq!(
            [aligned(150), aligned(250), aligned(350), aligned(450)],
            [true, false, false, true]
        );
    }

    #[test]
    fn gaps_are_not_judged_and_counts_do_not_span_them() {
        let mut timeline = Timeline::new(bound(10));
        let longer = Bound { window: 2 * SECOND, ..bound(5) };
        timeline.change(100 * SECOND, longer, true);
        let stretches = timeline.stretches(&calls([98, 101, 107, 109]), &[]);
        let limits: Vec<_> =
            stretches.iter().map(|(bound, calls)| (bound.limit, calls.len())).collect();
        assert_eq!(limits, [(10, 1), (5, 1)]);
        assert!(timeline.in_force(99 * SECOND, 101 * SECOND).is_none());
        let unaligned = Bound { aligned: false, ..longer };
        assert_eq!(timeline.in_force(109 * SECOND, 110 * SECOND), Some(vec![unaligned]));

        let own = [Gap { from: 115 * SECOND, to: 116 * SECOND }];
        assert_eq!(timeline.stretches(&calls([114, 115, 117]), &own).len(), 2);
        timeline.prune(200 * SECOND);
        assert_eq!(timeline.around(0).limit, 5);
    }
}
