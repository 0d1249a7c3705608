//! Counting the instances that share a storage.
//!
//! Time is divided into periods of the storage's clock. In each period every instance adds one to
//! that period's counter, so the counter of a past period is the number of instances. A new
//! instance also adds itself to the previous period, so that it is seen at once.
//!
//! The estimate is the largest of three counts: the previous period, the one before it, and the
//! current one so far. So an instance that could not count itself for a moment is not dropped. An
//! instance that missed a whole period assumes that others did too, perhaps for longer, and does
//! not lower its estimate for some periods. It also does so if its own count was lost because the
//! storage was cleared.

use std::{sync::Arc, time::Duration};

use throttle_core::{
    Algorithm, AtomicStorage, Charge, ChargeRequest, CheckedRule, Key, Rule, StorageError, Value,
};

/// The state of one instance that counts the others.
pub(super) struct Discovery {
    every: Duration,
    /// The offset in each period at which this instance counts itself, so that not all instances do
    /// so at the same time.
    phase: Duration,
    /// The last period in which it counted itself.
    counted: Option<u64>,
    /// Whether it has added itself to the period before its first one.
    is_known: bool,
    /// The count of the period before the previous one.
    earlier: u64,
    estimate: u64,
    /// The period before which the estimate is not lowered.
    held_until: u64,
    /// The pause before the next count; doubles up to a period, so that a new instance soon has a
    /// good estimate.
    again: Duration,
    clock: Option<Arc<CheckedRule>>,
}

/// The number of periods for which the estimate is not lowered after a missed period or a cleared
/// storage.
const GRACE: u64 = 4;

/// The number of retries of a failed count in a period.
const RETRIES: u32 = 8;

impl Discovery {
    pub(super) fn new(every: Duration, initial: u64) -> Self {
        // A peek with this rule returns the storage's time; nothing is charged.
        let rule = Rule::per_second("servers", 1).algorithm(Algorithm::FixedWindow).check();
        Self {
            every,
            phase: every.mul_f64(fastrand::f64() / 2.0),
            counted: None,
            is_known: false,
            earlier: initial,
            estimate: initial,
            held_until: 0,
            again: every / 16,
            clock: rule.ok().map(Arc::new),
        }
    }

    /// Counts this instance and the others. Returns the estimate, and the pause before the next
    /// count.
    pub(super) async fn refresh(&mut self, storage: &Arc<dyn AtomicStorage>) -> (u64, Duration) {
        match self.count(storage).await {
            Ok(pause) => (self.estimate, pause),
            Err(error) => {
                tracing::debug!(
                    target: "ratethrottle::resilience",
                    %error, "counting the instances that share the limits failed"
                );
                (self.estimate, self.every / RETRIES)
            }
        }
    }

    async fn count(&mut self, storage: &Arc<dyn AtomicStorage>) -> Result<Duration, StorageError> {
        let now = self.now(storage).await?;
        let every = self.every.as_micros();
        let period = u64::try_from(now.as_micros() / every).unwrap_or(u64::MAX);
        let (this, last) = (self.key(period), self.key(period.saturating_sub(1)));
        let lifetime = Some(self.every.saturating_mul(4));

        let new_period = self.counted != Some(period);
        let missed = self.counted.is_some_and(|counted| counted + 1 < period);
        let here = match new_period {
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
        self.update_estimate(period, here, before, new_period);
        let gone = Duration::from_micros(u64::try_from(now.as_micros() % every).unwrap_or(0));
        let next = self.every.saturating_sub(gone).saturating_add(self.phase);
        let pause = next.min(self.again);
        self.again = self.again.saturating_mul(2).min(self.every.saturating_mul(2));
        Ok(pause)
    }

    fn update_estimate(&mut self, period: u64, here: u64, before: u64, new_period: bool) {
        let counted = here.max(before).max(self.earlier);
        self.estimate = if period < self.held_until { self.estimate.max(counted) } else { counted };
        if new_period && self.again >= self.every {
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

    fn discovery() -> Discovery {
        let mut discovery = Discovery::new(Duration::from_secs(1), 1);
        discovery.again = discovery.every; // past the first fast counts
        for period in 0..3 {
            discovery.update_estimate(period, 1, 3, true);
        }
        assert_eq!(discovery.estimate, 3);
        discovery
    }

    #[test]
    fn an_ended_instance_is_dropped_after_two_periods() {
        let mut discovery = discovery();
        discovery.update_estimate(3, 1, 2, true);
        assert_eq!(discovery.estimate, 3, "it may have missed a period");
        discovery.update_estimate(4, 1, 2, true);
        assert_eq!(discovery.estimate, 2);
    }

    #[test]
    fn after_an_outage_the_estimate_is_held_for_a_grace_period() {
        let mut discovery = discovery();
        discovery.held_until = 10 + GRACE;
        for period in 10..10 + GRACE {
            discovery.update_estimate(period, 1, 1, true);
            assert_eq!(discovery.estimate, 3, "in period {period}");
        }
        discovery.update_estimate(10 + GRACE, 1, 1, true);
        assert_eq!(discovery.estimate, 1, "the grace period is over");
    }
}
