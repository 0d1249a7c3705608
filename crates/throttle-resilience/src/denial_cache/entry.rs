//! A cached denial, and how it ages.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use throttle_core::{
    Algorithm, Charge, ChargeRequest, CheckedRule, Clock, Micros, Outcome, Verdict,
};

use crate::keyed::same_clock;

/// The longest time a denial is used. It bounds how late a refund or reset by another instance is
/// noticed.
const MAX_AGE: Duration = Duration::from_secs(1);
/// The age at which one request is sent to the storage again, and the pause before the next one is
/// sent if there is no answer yet. So a key that is freed elsewhere is usually noticed before the
/// second is over, at a cost of two calls a second.
const ASK_AFTER: Duration = Duration::from_millis(500);
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// The storage's answer to a request that it denied.
pub(super) struct Entry {
    rules: SmallVec<[Denied; 1]>,
    clock: Option<Arc<dyn Clock>>,
    /// The storage's time of the decision.
    at: Micros,
    /// The time at which the request was sent; the storage decided no earlier than this.
    sent: Instant,
    /// The time at which the answer arrived; the storage decided no later than this.
    received: Instant,
    ask_at: Instant,
}

/// The verdict of one rule.
struct Denied {
    rule: Arc<CheckedRule>,
    cost: u64,
    verdict: Verdict,
}

/// The use of a cached denial for a request.
pub(super) enum Age {
    /// It answers the request.
    Valid(Outcome),
    /// This request should be sent to the storage; the denial still applies to others.
    Due,
    /// Its wait has ended, or it is too old.
    Over,
}

impl Entry {
    /// Creates an entry from a denied, complete answer of the storage. A denial that blocks the key
    /// is cached as a block.
    pub(super) fn of(
        request: &ChargeRequest<'_>,
        outcome: &Outcome,
        sent: Instant,
    ) -> Option<Self> {
        let charges = request.charges();
        if outcome.is_allowed()
            || outcome.is_degraded()
            || charges.len() != outcome.verdicts().len()
        {
            return None;
        }
        let pairs = charges.iter().zip(outcome.verdicts());
        let denied = |(charge, verdict): (&Charge<'_>, &Verdict)| Denied {
            rule: Arc::clone(charge.rule()),
            cost: charge.cost(),
            verdict: *verdict,
        };
        let received = Instant::now();
        let (clock, at) = (request.clock().cloned(), outcome.at());
        let rules = pairs.map(denied).collect();
        Some(Self { rules, clock, at, sent, received, ask_at: sent + ASK_AFTER })
    }

    /// Returns whether this denial applies to a request: the same rules in the same order, the same
    /// clock, and costs that cannot be allowed if this entry's were not.
    pub(super) fn covers(&self, request: &ChargeRequest<'_>) -> bool {
        self.rules.len() == request.charges().len()
            && self.rules.iter().zip(request.charges()).all(|(one, charge)| one.covers(charge))
            && same_clock(self.clock.as_ref(), request.clock())
    }

    /// Returns whether both are denials of the same rules and costs.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.rules.len() == other.rules.len()
            && self
                .rules
                .iter()
                .zip(&other.rules)
                .all(|(one, two)| one.cost == two.cost && one.rule.name() == two.rule.name())
    }

    /// Returns whether one of the rules blocks the key.
    pub(super) fn is_blocked(&self) -> bool {
        self.rules.iter().any(|one| one.verdict.blocked)
    }

    /// Returns the cost under the first rule.
    pub(super) fn cost(&self) -> u64 {
        self.rules.first().map_or(0, |one| one.cost)
    }

    /// Returns whether the denial is too old to be used.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.sent) >= MAX_AGE
    }

    /// Answers a request that this denial covers, as the storage would answer now.
    ///
    /// Between sending the request and receiving its answer, the moment of the decision is unknown.
    /// So the denial ends by the earlier bound (`sent`), and waits are reported by the later one
    /// (`received`): no request is rejected that the storage would allow, and no client is asked to
    /// retry too early.
    pub(super) fn answer(&mut self, request: &ChargeRequest<'_>, now: Instant) -> Age {
        if self.is_stale(now) {
            return Age::Over;
        }
        let (gone_at_most, gone_at_least) = match &self.clock {
            None => {
                let since = |then| micros(now.saturating_duration_since(then));
                (since(self.sent).plus(Micros::new(1)), since(self.received))
            }
            Some(clock) => {
                let moment = clock.now();
                if moment < self.at {
                    return Age::Over;
                }
                (moment.since(self.at), moment.since(self.at))
            }
        };
        let mut denials = self.rules.iter().filter(|one| !one.verdict.allowed);
        if denials.any(|one| one.verdict.retry_after.is_some_and(|wait| wait <= gone_at_most)) {
            return Age::Over;
        }
        if self.clock.is_some() && !self.is_exact(request, gone_at_least) {
            return Age::Due;
        }
        if now >= self.ask_at {
            self.ask_at = now + ASK_AGAIN;
            return Age::Due;
        }
        let at = self.at.plus(gone_at_least);
        if let ([one], [charge]) = (&self.rules[..], request.charges()) {
            return Age::Valid(Outcome::one(one.aged(charge.cost(), gone_at_least), at));
        }
        let pairs = self.rules.iter().zip(request.charges());
        let verdicts = pairs.map(|(one, charge)| one.aged(charge.cost(), gone_at_least));
        Age::Valid(Outcome::new(verdicts, at))
    }
}

impl Entry {
    /// Returns whether the storage would give the same answer, to the microsecond and to the unit.
    ///
    /// A request with its own clock gets only such answers: by such a clock, any number of events
    /// can happen at one instant.
    fn is_exact(&self, request: &ChargeRequest<'_>, gone: Micros) -> bool {
        let mut pairs = self.rules.iter().zip(request.charges());
        pairs.all(|(one, charge)| one.is_exact(charge.cost(), gone))
    }
}

impl Denied {
    /// Returns whether the aged verdict for a cost is exact, and not only a bound.
    fn is_exact(&self, cost: u64, gone: Micros) -> bool {
        let verdict = &self.verdict;
        let vacant = verdict.reset_after == Micros::ZERO;
        if verdict.allowed {
            return vacant || gone == Micros::ZERO;
        }
        if verdict.blocked && verdict.retry_after.is_some() {
            return true; // the block applies to every cost until it ends
        }
        if self.rule.algorithm() == Algorithm::FixedWindow {
            return vacant || gone < verdict.reset_after; // constant within a window
        }
        // The remaining count stays below the cost until the wait ends. If it is one less, it is
        // therefore constant.
        let is_queue = self.rule.algorithm() == Algorithm::LeakyBucket;
        let constant = !is_queue && cost.checked_sub(1) == Some(verdict.remaining);
        cost == self.cost && (constant || vacant || gone == Micros::ZERO)
    }

    fn covers(&self, charge: &Charge<'_>) -> bool {
        let cost = charge.cost();
        let covered = if self.verdict.allowed {
            cost == self.cost
        } else {
            // A blocked key denies every cost. Without a wait the cost exceeds the capacity, which
            // does not affect smaller costs.
            let blocked = self.verdict.blocked && self.verdict.retry_after.is_some();
            cost >= self.cost || blocked
        };
        covered && (Arc::ptr_eq(&self.rule, charge.rule()) || self.rule == *charge.rule())
    }

    /// Returns the verdict on a cost after `gone` has passed.
    fn aged(&self, cost: u64, gone: Micros) -> Verdict {
        let never = cost > self.rule.capacity();
        let retry_after = self.verdict.retry_after.filter(|_| !never);
        Verdict {
            retry_after: retry_after.map(|wait| wait.since(gone)),
            reset_after: self.verdict.reset_after.since(gone),
            ..self.verdict
        }
    }
}

/// Returns a span in whole microseconds, rounded down.
fn micros(span: Duration) -> Micros {
    Micros::new(u64::try_from(span.as_micros()).unwrap_or(u64::MAX))
}
