//! The most that a rule may allow, and whether more was allowed.

use std::collections::BTreeMap;

use throttle_core::{Algorithm, CheckedRule};

/// Calls up to this duration are also checked without the longer ones, whose moment is too
/// uncertain.
const SHORT: u64 = 5_000;

/// A call as its caller saw it. It took effect in the storage at some moment from `start` to `end`,
/// in microseconds since the Unix epoch.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Call {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) cost: u64,
}

/// The bound that a rule sets, with the window in microseconds.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Bound {
    pub(crate) algorithm: Algorithm,
    pub(crate) limit: u64,
    pub(crate) burst: u64,
    pub(crate) window: u64,
    /// Whether a counter's windows are aligned to the epoch. After the window was replaced they are
    /// not, for as long as the key is in use.
    pub(crate) aligned: bool,
}

/// More allowed requests than a bound permits, from one moment to another.
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

    /// Returns the bound of one of `servers` instances that decides locally.
    pub(crate) fn share(self, servers: u64) -> Self {
        let share = |whole: u64| (whole / servers).max(1);
        Self { limit: share(self.limit), burst: share(self.burst), aligned: false, ..self }
    }

    pub(crate) fn is_bucket(&self) -> bool {
        matches!(self.algorithm, Algorithm::TokenBucket | Algorithm::LeakyBucket)
    }

    /// Returns whether counts under one bound mean the same under the other.
    pub(crate) fn counts_as(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm && self.window == other.window
    }

    /// Returns the looser of two bounds that count the same.
    pub(crate) fn looser(self, other: Self) -> Self {
        let (limit, burst) = (self.limit.max(other.limit), self.burst.max(other.burst));
        Self { limit, burst, aligned: self.aligned && other.aligned, ..self }
    }

    /// Returns the worst interval in which more was allowed than the bound and `refunded` permit.
    /// Only calls that lie entirely within an interval count, so that uncertainty about their
    /// moment never makes a violation.
    pub(crate) fn exceeded(&self, calls: &[Call], refunded: u64) -> Option<Excess> {
        let worst = match self.algorithm {
            Algorithm::FixedWindow => self.of_windows(calls),
            Algorithm::SlidingWindowLog => self.of_log(calls),
            Algorithm::SlidingWindowCounter => self
                .of_flow(self.limit, calls, refunded)
                .or_else(|| if self.aligned { self.of_fading(calls) } else { None }),
            Algorithm::TokenBucket | Algorithm::LeakyBucket => {
                self.of_flow(self.burst, calls, refunded)
            }
            // A new algorithm without a bound here may allow nothing, so that its first run fails.
            _ => self.of_flow(0, calls, refunded),
        };
        worst.filter(|worst| worst.passed > worst.most.saturating_add(refunded))
    }

    /// Checks for at most the limit in each window aligned to the epoch.
    fn of_windows(&self, calls: &[Call]) -> Option<Excess> {
        let mut windows = BTreeMap::<u64, u64>::new();
        for call in calls.iter().filter(|c| c.start / self.window == c.end / self.window) {
            *windows.entry(call.start / self.window).or_default() += call.cost;
        }
        let (window, passed) = windows.into_iter().max_by_key(|(_, passed)| *passed)?;
        let from = window * self.window;
        Some(Excess { from, to: from + self.window, passed, most: self.limit })
    }

    /// Checks for at most the limit in each interval shorter than a window.
    fn of_log(&self, calls: &[Call]) -> Option<Excess> {
        let (mut by_start, mut by_end) = (calls.to_vec(), calls.to_vec());
        by_start.sort_unstable_by_key(|call| call.start);
        by_end.sort_unstable_by_key(|call| call.end);
        let (mut ending, mut passed) = (by_end.iter().peekable(), 0);
        let mut worst: Option<Excess> = None;
        for first in &by_start {
            let (from, to) = (first.start, first.start + self.window);
            while let Some(call) = ending.next_if(|call| call.end < to) {
                // A call that began before this interval is not in a later one either.
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

    /// Checks for at most the limit in each aligned window, including the weight of the previous
    /// one.
    ///
    /// All calls within the previous window are counted, with the weight of that window at the time when the current
    /// call ended. In the current window, only calls that ended before the current call began are counted.
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

    /// Checks for at most `at_once` plus what the limit allows for its length, in any interval.
    fn of_flow(&self, at_once: u64, calls: &[Call], refunded: u64) -> Option<Excess> {
        let mut sorted = calls.to_vec();
        sorted.sort_unstable_by_key(|call| call.end);
        let short: Vec<_> = sorted.iter().filter(|c| c.end - c.start <= SHORT).copied().collect();
        self.flow(at_once, &sorted, refunded).or_else(|| self.flow(at_once, &short, refunded))
    }

    /// Adds calls, in the order of their ends, to a bucket that drains at the limit's rate.
    ///
    /// If it overflows, the calls since it was last empty are too many for the time between the
    /// ends of the first and the last call. The first may have been charged before it ended, so the
    /// interval may be longer by up to the longest of these calls.
    fn flow(&self, at_once: u64, sorted: &[Call], refunded: u64) -> Option<Excess> {
        let wide = u128::from;
        let (limit, window) = (wide(self.limit), wide(self.window));
        let room = (wide(at_once) + wide(refunded)) * window;
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
