//! Counting the servers that share a storage.
//!
//! Time goes by periods of the storage's own clock. In each of them every server adds one to that
//! period's number, so that the number of a period that is over is how many servers there were. One that
//! begins adds itself to the period before as well, so that it is seen at once.
//!
//! What is believed is the greatest of: the period before, the one before that, and as many as there are
//! in this one by now. So one that could not count itself for a moment is not forgotten. A server that
//! was kept from counting itself for a whole period takes it that others were, too, and for some periods
//! longer than itself, and goes meanwhile by what it knew; so does one whose own count is gone, because
//! somebody cleared the storage.

use std::{sync::Arc, time::Duration};

use throttle_core::{
    Algorithm, AtomicStorage, Charge, ChargeRequest, CheckedRule, Key, Rule, StorageError, Value,
};

/// What a server knows of the others.
pub(super) struct Learner {
    every: Duration,
    /// How far into each period this server counts itself, so that not all come at once.
    phase: Duration,
    /// The period in which it did so last.
    counted: Option<u64>,
    /// Whether it is counted in the period before the first, too.
    is_known: bool,
    /// How many there were in the period before the one before.
    earlier: u64,
    known: u64,
    /// Before this period what was known is not forgotten.
    held_until: u64,
    /// How soon it looks again; grows to a period.
    again: Duration,
    clock: Option<Arc<CheckedRule>>,
}

/// So many periods after one that was missed, or a storage that was cleared, others may yet come back.
const GRACE: u64 = 4;

/// A failed call is tried again so many times in a period.
const TRIES: u32 = 8;

impl Learner {
    pub(super) fn new(every: Duration, at_first: u64) -> Self {
        // What reads the storage's clock; nothing is charged by it.
        let rule = Rule::per_second("servers", 1).algorithm(Algorithm::FixedWindow).check();
        Self {
            every,
            phase: every.mul_f64(fastrand::f64() / 2.0),
            counted: None,
            is_known: false,
            earlier: at_first,
            known: at_first,
            held_until: 0,
            again: every / 16,
            clock: rule.ok().map(Arc::new),
        }
    }

    /// Counts this server and the others; returns how many there are, and how long to wait before it is
    /// done again.
    pub(super) async fn look(&mut self, storage: &Arc<dyn AtomicStorage>) -> (u64, Duration) {
        match self.count(storage).await {
            Ok(pause) => (self.known, pause),
            Err(error) => {
                tracing::debug!(%error, "the servers that share the limits could not be counted");
                (self.known, self.every / TRIES)
            }
        }
    }

    async fn count(&mut self, storage: &Arc<dyn AtomicStorage>) -> Result<Duration, StorageError> {
        let now = self.now(storage).await?;
        let every = self.every.as_micros();
        let period = u64::try_from(now.as_micros() / every).unwrap_or(u64::MAX);
        let (this, last) = (self.key(period), self.key(period.saturating_sub(1)));
        let lifetime = Some(self.every.saturating_mul(4));

        let anew = self.counted != Some(period);
        let missed = self.counted.is_some_and(|counted| counted + 1 < period);
        let here = match anew {
            true => storage.increment(&this, 1, lifetime).await?,
            false => number(storage.get(&this).await?),
        };
        self.counted = Some(period);
        let before = match self.is_known {
            false => storage.increment(&last, 1, lifetime).await?,
            true => number(storage.get(&last).await?),
        };
        self.is_known = true;
        let (here, before) = (here.max(0).unsigned_abs(), before.max(0).unsigned_abs());
        if missed || before == 0 {
            self.held_until = period.saturating_add(GRACE);
        }
        self.believe(period, here, before, anew);
        let gone = Duration::from_micros(u64::try_from(now.as_micros() % every).unwrap_or(0));
        let next = self.every.saturating_sub(gone).saturating_add(self.phase);
        let pause = next.min(self.again);
        self.again = self.again.saturating_mul(2).min(self.every.saturating_mul(2));
        Ok(pause)
    }

    fn believe(&mut self, period: u64, here: u64, before: u64, anew: bool) {
        let counted = here.max(before).max(self.earlier);
        self.known = if period < self.held_until { self.known.max(counted) } else { counted };
        if anew && self.again >= self.every {
            self.earlier = before;
        }
    }

    /// Reads the storage's clock.
    async fn now(&self, storage: &Arc<dyn AtomicStorage>) -> Result<Duration, StorageError> {
        let Some(rule) = &self.clock else { return Ok(Duration::ZERO) };
        let key = Key::from("servers");
        let reply = storage.peek(&ChargeRequest::new(&[Charge::new(&key, rule, 1)], None));
        Ok(reply.await?.at().into())
    }

    fn key(&self, period: u64) -> String {
        format!("servers:{}:{period}", self.every.as_micros())
    }
}

fn number(value: Option<Value>) -> i64 {
    value.and_then(|value| value.as_i64()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learner() -> Learner {
        let mut learner = Learner::new(Duration::from_secs(1), 1);
        learner.again = learner.every; // it has begun
        for period in 0..3 {
            learner.believe(period, 1, 3, true);
        }
        assert_eq!(learner.known, 3);
        learner
    }

    #[test]
    fn one_that_is_gone_is_forgotten_after_two_periods() {
        let mut learner = learner();
        learner.believe(3, 1, 2, true);
        assert_eq!(learner.known, 3, "it may have been kept from it");
        learner.believe(4, 1, 2, true);
        assert_eq!(learner.known, 2);
    }

    #[test]
    fn after_an_outage_others_have_time_to_come_back() {
        let mut learner = learner();
        learner.held_until = 10 + GRACE;
        for period in 10..10 + GRACE {
            learner.believe(period, 1, 1, true);
            assert_eq!(learner.known, 3, "in period {period}");
        }
        learner.believe(10 + GRACE, 1, 1, true);
        assert_eq!(learner.known, 1, "they had time");
    }
}
