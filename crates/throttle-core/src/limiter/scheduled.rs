//! Requests that wait for the scheduled time that a leaky bucket gave them.

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

/// A scheduled time that no longer holds: refund what [is refundable](Self::is_refundable), and ask again.
#[derive(Debug)]
#[must_use = "the request is not to be handled before it has another scheduled time"]
pub struct LostSchedule {
    waited: Duration,
    /// The rules that have forgotten what they charged.
    reset: Vec<String>,
}

/// The scheduled time by one rule.
struct Turn {
    rule: Arc<CheckedRule>,
    cost: u64,
    /// How far away it was when the wait began.
    left: Micros,
}

/// The scheduled times of a request.
struct Turns(SmallVec<[Turn; 1]>);

impl LostSchedule {
    /// Returns how long the request has waited for it.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.waited
    }

    /// Returns whether what a decision charged is still charged. A key that was reset does not remember who was
    /// charged before: a refund would be taken from the charges of others.
    #[must_use]
    pub fn is_refundable(&self, decision: &Decision) -> bool {
        self.reset.iter().all(|rule| rule != decision.rule())
    }
}

impl Limiter {
    /// Waits for the scheduled time of a request, and returns how long that was.
    ///
    /// For adapters. `since` is the [`change_count`](Self::change_count) from before the request asked. Where a
    /// rule is replaced by one with another limit, window or burst, the request keeps its place in the queue, and
    /// its scheduled time moves to when the queue before it has drained by the new rule.
    ///
    /// # Errors
    ///
    /// [`LostSchedule`] when the key was reset, the rule was removed or is no leaky bucket any more, the queue of
    /// the new rule is too short for its place, or its time is more than `longest` away. A reset by another
    /// server is noticed within a second, unless the queue has filled up again by then.
    pub async fn wait_until_scheduled(
        &self,
        key: &Key<'_>,
        decisions: &Decisions,
        longest: Duration,
        since: u64,
    ) -> Result<Duration, LostSchedule> {
        let mut turns = Turns::of(decisions);
        if turns.last() == Micros::ZERO {
            return Ok(Duration::ZERO);
        }
        let (mut before, mut reset) = (Duration::ZERO, Vec::new());
        let names = || decisions.all().iter().map(Decision::rule);
        let mut pause = Pause::begin(self, key, names(), turns.last().into(), since);
        loop {
            let event = pause.next().await;
            let (since, waited) = (self.change_count(), pause.waited());
            let so_far = before.saturating_add(waited);
            let looks = match event {
                Event::Elapsed => return Ok(before.saturating_add(turns.last().into())),
                Event::LookAgain => true,
                Event::Changed(change) => {
                    reset.extend(change.reset);
                    change.may_be_reset
                }
            };
            let Ok(moved) = turns.by_rules_of(self, waited.into()) else {
                return Err(LostSchedule { waited: so_far, reset });
            };
            let mut is_lost = turns.are_reset(&reset);
            let has_moved = moved.is_some();
            if let Some(moved) = moved {
                (turns, before) = (moved, so_far);
                pause = Pause::begin(self, key, names(), turns.last().into(), since);
                is_lost |= before.saturating_add(turns.last().into()) > longest;
            }
            if (looks || has_moved) && !is_lost {
                let now = self.begin(key, Some(&turns.names()), None, AskKind::Peek).await;
                let waited = pause.waited().into();
                let forgotten = |now| turns.are_forgotten(&now, waited, has_moved, &mut reset);
                is_lost = now.is_ok_and(forgotten);
            }
            if is_lost {
                return Err(LostSchedule { waited: so_far, reset });
            }
        }
    }
}

/// Says that a request has no place in a queue any more.
struct NoPlace;

impl Turns {
    fn of(decisions: &Decisions) -> Self {
        let delayed = decisions.all().iter().filter(|one| !one.delay().is_zero());
        let turn = |one: &Decision| Turn {
            rule: Arc::clone(one.checked_rule()),
            cost: one.cost(),
            left: one.delay().into(),
        };
        Self(delayed.map(turn).collect())
    }

    /// Returns how far away the last of them was.
    fn last(&self) -> Micros {
        self.0.iter().map(|turn| turn.left).max().unwrap_or_default()
    }

    /// Returns whether one of their rules is among those by which the key was reset.
    fn are_reset(&self, reset: &[String]) -> bool {
        self.0.iter().any(|turn| reset.iter().any(|rule| rule == turn.rule.name()))
    }

    fn names(&self) -> SmallVec<[&str; 1]> {
        self.0.iter().map(|turn| turn.rule.name()).collect()
    }

    /// Returns whether the storage, or a list, no longer knows of them, and adds the rules by which that is a reset.
    fn are_forgotten(
        &self,
        now: &Decisions,
        waited: Micros,
        has_moved: bool,
        reset: &mut Vec<String>,
    ) -> bool {
        if now.most_restrictive().listed().is_some() {
            return true;
        }
        let mut are_forgotten = false;
        for (turn, now) in self.0.iter().zip(now.all()) {
            let tells = !now.is_blocked() && !now.is_degraded();
            let is_same = queue_alike(&turn.rule, now.checked_rule());
            if tells && is_same && turn.is_beyond(now.reset_after().into(), waited, has_moved) {
                are_forgotten = true;
                if !has_moved {
                    reset.push(turn.rule.name().to_owned());
                }
            }
        }
        are_forgotten
    }

    /// Returns where they are after a wait by the rules as they are now, if those are others.
    fn by_rules_of(&self, limiter: &Limiter, waited: Micros) -> Result<Option<Self>, NoPlace> {
        let mut is_same = true;
        let mut moved = SmallVec::new();
        for turn in &self.0 {
            let rule = limiter.rule(turn.rule.name()).ok_or(NoPlace)?;
            is_same &= queue_alike(&turn.rule, &rule);
            moved.push(turn.by_rule(rule, waited)?);
        }
        Ok((!is_same).then_some(Self(moved)))
    }
}

impl Turn {
    fn by_rule(&self, rule: Arc<CheckedRule>, waited: Micros) -> Result<Self, NoPlace> {
        let left = self.left.since(waited);
        let left = match queue_alike(&self.rule, &rule) {
            true => left,
            false => self.moved(left, &rule).ok_or(NoPlace)?,
        };
        Ok(Self { rule, cost: self.cost, left })
    }

    /// Returns whether it is beyond the end of a queue that drains in `queue`: that was reset, or drained by a
    /// faster rule from when it was asked last on.
    fn is_beyond(&self, queue: Micros, waited: Micros, has_moved: bool) -> bool {
        let cost = product(self.cost, self.rule.window().get());
        let own = quotient(cost, self.rule.limit());
        // The answers of a storage on another machine come sooner and later. To ask again for nothing costs a place
        // in the queue, so that only a rule that changed is a reason for it where the end is near.
        let tolerance = if has_moved { (own / 2).min(10_000) } else { own.saturating_add(50_000) };
        let left = self.left.since(waited);
        left > Micros::ZERO && queue.plus(Micros::new(tolerance)) < left.plus(Micros::new(own))
    }

    /// Returns how long the queue before it takes to drain by another rule, if that has room for it.
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

/// Returns whether the same queue has as much room by two rules, and drains alike.
fn queue_alike(one: &CheckedRule, other: &CheckedRule) -> bool {
    let queue =
        |rule: &CheckedRule| (rule.algorithm(), rule.limit(), rule.window(), rule.capacity());
    queue(one) == queue(other)
}
