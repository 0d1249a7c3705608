//! A denial that is remembered, and how it ages.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use smallvec::SmallVec;
use throttle_core::{
    Algorithm, Charge, ChargeRequest, CheckedRule, Clock, Micros, Outcome, Verdict,
};

use crate::keyed::same_clock;

/// How old a denial may be that another server could have made void meanwhile.
const HONOURED: Duration = Duration::from_secs(1);
/// How old it is when one request asks again, and how soon another does if that one has no answer yet.
const ASK_AFTER: Duration = Duration::from_millis(500);
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Holds what the storage said to a request that it denied.
pub(super) struct Entry {
    rules: SmallVec<[Denied; 1]>,
    clock: Option<Arc<dyn Clock>>,
    /// The time by which the storage decided.
    at: Micros,
    /// When the request was sent: no earlier than this the storage decided.
    sent: Instant,
    /// When its answer came: no later than this it did.
    came: Instant,
    ask_at: Instant,
}

/// Holds what one rule said.
struct Denied {
    rule: Arc<CheckedRule>,
    cost: u64,
    verdict: Verdict,
}

/// Says what a remembered denial is good for.
pub(super) enum Age {
    /// It answers the request.
    Valid(Outcome),
    /// It does not answer this one, which asks the storage again; it still answers others.
    Due,
    /// It is over, or too old.
    Over,
}

impl Entry {
    /// Remembers a denial; a rule that shuts the key has done so by it.
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
        let came = Instant::now();
        let (clock, at) = (request.clock().cloned(), outcome.at());
        let rules = pairs.map(denied).collect();
        Some(Self { rules, clock, at, sent, came, ask_at: sent + ASK_AFTER })
    }

    /// Returns whether this says anything about a request: the same rules in the same order, by the
    /// same clock, and costs that cannot pass where this one's did not.
    pub(super) fn covers(&self, request: &ChargeRequest<'_>) -> bool {
        self.rules.len() == request.charges().len()
            && self.rules.iter().zip(request.charges()).all(|(one, charge)| one.covers(charge))
            && same_clock(self.clock.as_ref(), request.clock())
    }

    /// Returns whether this is about the very same request.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.rules.len() == other.rules.len()
            && self
                .rules
                .iter()
                .zip(&other.rules)
                .all(|(one, two)| one.cost == two.cost && one.rule.name() == two.rule.name())
    }

    /// Returns whether the key was shut by one of the rules.
    pub(super) fn is_shut(&self) -> bool {
        self.rules.iter().any(|one| one.verdict.blocked)
    }

    /// Returns the cost of its first rule.
    pub(super) fn cost(&self) -> u64 {
        self.rules.first().map_or(0, |one| one.cost)
    }

    /// Returns whether nobody will be answered by this any more.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.sent) >= HONOURED
    }

    /// Answers a request that this covers, as the storage would by now.
    ///
    /// What is refused is counted from when the request was sent, what is told from when its answer
    /// came: so nobody is refused who would be admitted, and nobody is told to come too early.
    pub(super) fn answer(&mut self, request: &ChargeRequest<'_>, now: Instant) -> Age {
        if self.is_stale(now) {
            return Age::Over;
        }
        let (gone_at_most, gone_at_least) = match &self.clock {
            None => {
                let since = |then| micros(now.saturating_duration_since(then));
                (since(self.sent).plus(Micros::new(1)), since(self.came))
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
    /// Returns whether the storage would say the same to the microsecond and to the unit. A request that
    /// brings its own clock gets nothing else: by such a clock anything may have happened in no time.
    fn is_exact(&self, request: &ChargeRequest<'_>, gone: Micros) -> bool {
        let mut pairs = self.rules.iter().zip(request.charges());
        pairs.all(|(one, charge)| one.is_exact(charge.cost(), gone))
    }
}

impl Denied {
    /// Returns whether what is told to a cost after `gone` is exact, not only the least or the longest it
    /// can be.
    fn is_exact(&self, cost: u64, gone: Micros) -> bool {
        let verdict = &self.verdict;
        let vacant = verdict.reset_after == Micros::ZERO;
        if verdict.allowed {
            return vacant || gone == Micros::ZERO;
        }
        if verdict.blocked && verdict.retry_after.is_some() {
            return true; // shut for everybody, until it opens
        }
        if self.rule.algorithm() == Algorithm::FixedWindow {
            return vacant || gone < verdict.reset_after; // nothing changes within a window
        }
        // What remains is less than the cost until the wait is over, so that it stays one less.
        // Of a queue it may be a freed slot, of which less is left.
        let is_queue = self.rule.algorithm() == Algorithm::LeakyBucket;
        let constant = !is_queue && cost.checked_sub(1) == Some(verdict.remaining);
        cost == self.cost && (constant || vacant || gone == Micros::ZERO)
    }

    fn covers(&self, charge: &Charge<'_>) -> bool {
        let cost = charge.cost();
        let covered = if self.verdict.allowed {
            cost == self.cost
        } else {
            // A shut key denies every cost; that a cost is above the capacity says nothing of others.
            let shut = self.verdict.blocked && self.verdict.retry_after.is_some();
            cost >= self.cost || shut
        };
        covered && (Arc::ptr_eq(&self.rule, charge.rule()) || self.rule == *charge.rule())
    }

    /// Returns the verdict on a cost after `gone`.
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
