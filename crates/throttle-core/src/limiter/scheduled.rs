//! Waits for the scheduled time that a leaky bucket gave a request.

use std::{sync::Arc, time::Duration};

use smallvec::SmallVec;

use super::{
    ask_kind::AskKind,
    handle::Limiter,
    pause::{Event, Pause},
};
use crate::{
    decision::{Decision, Decisions},
    exact::{product, quotient},
    key::Key,
    rule::{algorithm::Algorithm, checked::CheckedRule},
    time::Micros,
};

/// The error for a scheduled time that is no longer valid: refund the [refundable](Self::is_refundable) charges, and
/// check the request again.
#[derive(Debug)]
#[must_use = "the request must not be handled before it is scheduled again"]
pub struct LostSchedule {
    waited: Duration,
    /// The rules under which the key was reset, so their charges no longer exist.
    reset: Vec<String>,
}

/// The scheduled time of a request under one rule.
struct ScheduledTime {
    rule: Arc<CheckedRule>,
    cost: u64,
    /// The time until then when the wait began.
    left: Micros,
}

/// The scheduled times of a request under all its rules.
struct Schedule(SmallVec<[ScheduledTime; 1]>);

impl LostSchedule {
    /// Returns how long the request has waited.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Returns whether the charge of a decision still exists. After a reset of the key it does not, and a refund would
    /// reduce the charges of other requests.
    #[must_use]
    pub fn is_refundable(&self, decision: &Decision) -> bool {
        self.reset.iter().all(|rule| rule != decision.rule())
    }
}

impl Limiter {
    /// Waits for the scheduled time of a request, and returns how long it waited.
    ///
    /// If a rule is replaced by one with another limit, window or burst, the request keeps its position in the queue.
    /// Its scheduled time moves to the time at which the queue before it has drained under the new rule.
    ///
    /// For adapters. `since` is the [`change_count`](Self::change_count) from before the check.
    ///
    /// # Errors
    ///
    /// Returns [`LostSchedule`] if the key was reset, if the rule was removed or is no longer a leaky bucket, if the
    /// position is beyond the queue of the new rule, or if the whole wait would exceed `max_delay`. A reset by another
    /// server is noticed within a second, unless the queue has filled up again in the meantime.
    pub async fn wait_until_scheduled(
        &self,
        key: &Key<'_>,
        decisions: &Decisions,
        max_delay: Duration,
        since: u64,
    ) -> Result<Duration, LostSchedule> {
        let mut schedule = Schedule::of(decisions);
        if schedule.last() == Micros::ZERO {
            return Ok(Duration::ZERO);
        }
        let (mut before, mut reset) = (Duration::ZERO, Vec::new());
        let names = || decisions.all().iter().map(Decision::rule);
        let mut pause = Pause::begin(self, key, names(), schedule.last().into(), since);
        loop {
            let event = pause.next().await;
            let (since, waited) = (self.change_count(), pause.waited());
            let so_far = before.saturating_add(waited);
            let checks_storage = match event {
                Event::Elapsed => return Ok(before.saturating_add(schedule.last().into())),
                Event::Recheck => true,
                Event::Changed(change) => {
                    reset.extend(change.reset);
                    change.may_be_reset
                }
            };
            let Ok(moved) = schedule.with_current_rules(self, waited.into()) else {
                return Err(LostSchedule { waited: so_far, reset });
            };
            let mut is_lost = schedule.is_reset(&reset);
            let has_moved = moved.is_some();
            if let Some(moved) = moved {
                (schedule, before) = (moved, so_far);
                pause = Pause::begin(self, key, names(), schedule.last().into(), since);
                is_lost |= before.saturating_add(schedule.last().into()) > max_delay;
            }
            if (checks_storage || has_moved) && !is_lost {
                let now = self.begin(key, Some(&schedule.names()), None, AskKind::Peek).await;
                let waited = pause.waited().into();
                let forgotten = |now| schedule.is_forgotten(&now, waited, has_moved, &mut reset);
                is_lost = now.is_ok_and(forgotten);
            }
            if is_lost {
                return Err(LostSchedule { waited: so_far, reset });
            }
        }
    }
}

/// The error for a request that is no longer in the queue.
struct NotQueued;

impl Schedule {
    fn of(decisions: &Decisions) -> Self {
        let delayed = decisions.all().iter().filter(|one| !one.delay().is_zero());
        let scheduled_time = |one: &Decision| ScheduledTime {
            rule: Arc::clone(one.checked_rule()),
            cost: one.cost(),
            left: one.delay().into(),
        };
        Self(delayed.map(scheduled_time).collect())
    }

    /// Returns the time until the last one, when the wait began.
    fn last(&self) -> Micros {
        self.0.iter().map(|time| time.left).max().unwrap_or_default()
    }

    /// Returns whether the key was reset under one of the rules.
    fn is_reset(&self, reset: &[String]) -> bool {
        self.0.iter().any(|time| reset.iter().any(|rule| rule == time.rule.name()))
    }

    fn names(&self) -> SmallVec<[&str; 1]> {
        self.0.iter().map(|time| time.rule.name()).collect()
    }

    /// Returns whether the storage no longer has the request in its queues, or a list now decides. It adds the rules
    /// under which the key must have been reset to `reset`.
    fn is_forgotten(
        &self,
        now: &Decisions,
        waited: Micros,
        has_moved: bool,
        reset: &mut Vec<String>,
    ) -> bool {
        if now.most_restrictive().listed().is_some() {
            return true;
        }
        let mut is_forgotten = false;
        for (time, now) in self.0.iter().zip(now.all()) {
            let is_conclusive = !now.is_blocked() && !now.is_degraded();
            let is_same = queue_alike(&time.rule, now.checked_rule());
            if is_conclusive
                && is_same
                && time.is_beyond(now.reset_after().into(), waited, has_moved)
            {
                is_forgotten = true;
                if !has_moved {
                    reset.push(time.rule.name().to_owned());
                }
            }
        }
        is_forgotten
    }

    /// Returns the scheduled times under the current rules after a wait, if the rules have changed.
    fn with_current_rules(
        &self,
        limiter: &Limiter,
        waited: Micros,
    ) -> Result<Option<Self>, NotQueued> {
        let mut is_same = true;
        let mut moved = SmallVec::new();
        for time in &self.0 {
            let rule = limiter.rule(time.rule.name()).ok_or(NotQueued)?;
            is_same &= queue_alike(&time.rule, &rule);
            moved.push(time.with_rule(rule, waited)?);
        }
        Ok((!is_same).then_some(Self(moved)))
    }
}

impl ScheduledTime {
    fn with_rule(&self, rule: Arc<CheckedRule>, waited: Micros) -> Result<Self, NotQueued> {
        let left = self.left.since(waited);
        let left = match queue_alike(&self.rule, &rule) {
            true => left,
            false => self.moved(left, &rule).ok_or(NotQueued)?,
        };
        Ok(Self { rule, cost: self.cost, left })
    }

    /// Returns whether the scheduled time is beyond the end of a queue that drains in `queue`. Then the queue was
    /// reset, or has drained under a faster rule since.
    fn is_beyond(&self, queue: Micros, waited: Micros, has_moved: bool) -> bool {
        let cost = product(self.cost, self.rule.window().get());
        let own = quotient(cost, self.rule.limit());
        // Answers of a remote storage arrive with varying delays. A needless new check loses the position in the queue,
        // so that near the end of the queue, only a changed rule justifies it.
        let tolerance = if has_moved { (own / 2).min(10_000) } else { own.saturating_add(50_000) };
        let left = self.left.since(waited);
        left > Micros::ZERO && queue.plus(Micros::new(tolerance)) < left.plus(Micros::new(own))
    }

    /// Returns the time in which the queue before the request drains under another rule, if the position is within its
    /// capacity.
    fn moved(&self, left: Micros, rule: &CheckedRule) -> Option<Micros> {
        if rule.algorithm() != Algorithm::LeakyBucket {
            return None;
        }
        let window = self.rule.window().get();
        let ahead = product(left.get(), self.rule.limit()); // in requests × window
        if ahead + product(self.cost, window) > product(rule.capacity(), window) {
            return None;
        }
        let ahead = ahead.checked_mul(rule.window().get().into())?;
        u64::try_from(ahead.div_ceil(product(window, rule.limit()))).ok().map(Micros::new)
    }
}

/// Returns whether a queue has the same capacity and drains at the same rate under both rules.
fn queue_alike(one: &CheckedRule, other: &CheckedRule) -> bool {
    let queue =
        |rule: &CheckedRule| (rule.algorithm(), rule.limit(), rule.window(), rule.capacity());
    queue(one) == queue(other)
}
