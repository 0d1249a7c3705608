//! The most that may pass, and whether more did.

use std::collections::BTreeMap;

use throttle_core::{Algorithm, CheckedRule};

/// Longer calls blur the flow of the others; it is looked at with them and without.
const SHORT: u64 = 5_000;

/// Holds a call as its caller saw it: what it did to the storage, it did at some moment from `start` to
/// `end`, in microseconds since the Unix epoch.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) cost: u64,
}

/// Holds what a rule states about how much passes, window in microseconds.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bound {
    pub(crate) algorithm: Algorithm,
    pub(crate) limit: u64,
    pub(crate) burst: u64,
    pub(crate) window: u64,
    /// Whether a counter's windows begin where the window divides the time since the epoch. They do not
    /// after the window was replaced, for as long as a key is asked for.
    pub(crate) aligned: bool,
}

/// Tells of more than a bound allows, from one moment to another.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Excess {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) passed: u64,
    pub(crate) most: u64,
}

impl Bound {
    pub(crate) fn of(rule: &CheckedRule) -> Self {
        let (algorithm, window) = (rule.algorithm(), rule.window().get());
        Self { algorithm, limit: rule.limit(), burst: rule.capacity(), window, aligned: true }
    }

    /// Returns what one of so many servers admits by itself while the storage is gone.
    pub(crate) fn share(self, servers: u64) -> Self {
        let share = |whole: u64| (whole / servers).max(1);
        Self { limit: share(self.limit), burst: share(self.burst), aligned: false, ..self }
    }

    pub(crate) fn is_bucket(&self) -> bool {
        matches!(self.algorithm, Algorithm::TokenBucket | Algorithm::LeakyBucket)
    }

    /// Returns whether what was counted by one means the same by the other.
    pub(crate) fn counts_as(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.window == other.window
    }

    /// Returns the looser of two that count the same.
    pub(crate) fn looser(self, other: Self) -> Self {
        let (limit, burst) = (self.limit.max(other.limit), self.burst.max(other.burst));
        Self { limit, burst, aligned: self.aligned && other.aligned, ..self }
    }

    /// Finds the worst stretch in which more passed than the bound and `given_back` allow. Only calls that
    /// lie within a stretch as a whole count, so that no doubt about their moment makes a violation.
    pub(crate) fn exceeded(&self, calls: &[Call], given_back: u64) -> Option<Excess> {
        let worst = match self.algorithm {
            Algorithm::FixedWindow => self.of_windows(calls),
            Algorithm::SlidingWindowLog => self.of_log(calls),
            Algorithm::SlidingWindowCounter => self
                .of_flow(self.limit, calls, given_back)
                .or_else(|| if self.aligned { self.of_fading(calls) } else { None }),
            Algorithm::TokenBucket | Algorithm::LeakyBucket => {
                self.of_flow(self.burst, calls, given_back)
            }
            // Without a bound here nothing may pass, so that a run with a new algorithm fails at once.
            _ => self.of_flow(0, calls, given_back),
        };
        worst.filter(|worst| worst.passed > worst.most.saturating_add(given_back))
    }

    /// At most the limit in each window that is aligned to the epoch.
    fn of_windows(&self, calls: &[Call]) -> Option<Excess> {
        let mut windows = BTreeMap::<u64, u64>::new();
        for call in calls.iter().filter(|c| c.start / self.window == c.end / self.window) {
            *windows.entry(call.start / self.window).or_default() += call.cost;
        }
        let (window, passed) = windows.into_iter().max_by_key(|(_, passed)| *passed)?;
        let from = window * self.window;
        Some(Excess { from, to: from + self.window, passed, most: self.limit })
    }

    /// At most the limit in each stretch from a moment to less than a window later.
    fn of_log(&self, calls: &[Call]) -> Option<Excess> {
        let (mut by_start, mut by_end) = (calls.to_vec(), calls.to_vec());
        by_start.sort_unstable_by_key(|call| call.start);
        by_end.sort_unstable_by_key(|call| call.end);
        let (mut ending, mut passed) = (by_end.iter().peekable(), 0);
        let mut worst: Option<Excess> = None;
        for first in &by_start {
            let (from, to) = (first.start, first.start + self.window);
            while let Some(call) = ending.next_if(|call| call.end < to) {
                // What began before this stretch is not in a later one either.
                passed += if call.start >= from { call.cost } else { 0 };
            }
            if worst.is_none_or(|worst| worst.passed < passed) {
                worst = Some(Excess { from, to, passed, most: self.limit });
            }
            if first.end < to {
                passed -= first.cost;
            }
        }
        worst
    }

    /// At most the limit in each aligned window, with what is left of the one before it.
    ///
    /// Of the one before all calls count that lie within it, faded by when a call ended; of its own those
    /// that ended before it began.
    fn of_fading(&self, calls: &[Call]) -> Option<Excess> {
        let mut windows = BTreeMap::<u64, Vec<Call>>::new();
        for call in calls.iter().filter(|c| c.start / self.window == c.end / self.window) {
            windows.entry(call.start / self.window).or_default().push(*call);
        }
        let mut worst: Option<Excess> = None;
        for (number, by_start) in &mut windows.clone() {
            let from = number * self.window;
            let before = number.checked_sub(1).and_then(|before| windows.get(&before));
            let before: u64 = before.map_or(0, |calls| calls.iter().map(|call| call.cost).sum());
            let mut by_end = by_start.clone();
            by_start.sort_unstable_by_key(|call| call.start);
            by_end.sort_unstable_by_key(|call| call.end);
            let (mut ended, mut passed) = (by_end.iter().peekable(), 0);
            for call in by_start {
                while let Some(earlier) = ended.next_if(|earlier| earlier.end < call.start) {
                    passed += earlier.cost;
                }
                let left = from + self.window - call.end;
                let faded =
                    (u128::from(before) * u128::from(left)).div_ceil(u128::from(self.window));
                let faded = u64::try_from(faded).unwrap_or(u64::MAX);
                let passed = faded.saturating_add(passed + call.cost);
                if worst.is_none_or(|worst| worst.passed < passed) {
                    worst = Some(Excess { from, to: call.end, passed, most: self.limit });
                }
            }
        }
        worst
    }

    /// At most `at_once` and what the limit allows for its length, in any stretch.
    fn of_flow(&self, at_once: u64, calls: &[Call], given_back: u64) -> Option<Excess> {
        let mut sorted = calls.to_vec();
        sorted.sort_unstable_by_key(|call| call.end);
        let short: Vec<_> = sorted.iter().filter(|c| c.end - c.start <= SHORT).copied().collect();
        self.flow(at_once, &sorted, given_back).or_else(|| self.flow(at_once, &short, given_back))
    }

    /// Pours calls, in the order of their ends, into a bucket that drains by the limit.
    ///
    /// When it runs over, the calls since it was empty last are too many for the time between the ends
    /// of the first and of the last. The first may have been charged earlier than it ended: the longest of
    /// the calls bounds by how much the stretch that holds them all is longer.
    fn flow(&self, at_once: u64, sorted: &[Call], given_back: u64) -> Option<Excess> {
        let wide = u128::from;
        let (limit, window) = (wide(self.limit), wide(self.window));
        let room = (wide(at_once) + wide(given_back)) * window;
        let (mut level, mut last, mut longest) = (0, 0, 0);
        let (mut from, mut passed) = (0, 0);
        for call in sorted {
            level -= level.min(wide(call.end - last) * limit);
            last = call.end;
            if level == 0 {
                (longest, from, passed) = (0, call.start, 0);
            }
            longest = longest.max(call.end - call.start);
            from = from.min(call.start);
            passed += call.cost;
            level += wide(call.cost) * window;
            if level > room + wide(longest) * limit {
                let worth = wide(call.end - from) * limit / window;
                let most = at_once.saturating_add(u64::try_from(worth).unwrap_or(u64::MAX));
                return Some(Excess { from, to: call.end, passed, most });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
