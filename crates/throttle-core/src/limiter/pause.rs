//! Waits that end early if something changes.

use std::{
    future::poll_fn,
    mem,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    changes::{Change, Registered},
    handle::Limiter,
};
use crate::{
    key::Key,
    time::{Clock, Micros, Sleep, SystemClock},
};

/// The longest time after which a waiting request checks the storage again. Other servers and limiters may reset keys,
/// charges may be refunded, and lists may change.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum reduction of that time, so that requests that began to wait together check at different times.
const RECHECK_JITTER: Duration = Duration::from_millis(250);

/// The wait of a request.
pub(super) struct Pause<'a> {
    limiter: &'a Limiter,
    begun: Micros,
    span: Duration,
    sleep: Sleep,
    /// `None` if the whole wait is shorter.
    recheck: Option<Sleep>,
    registered: Registered<'a>,
    /// Whether something changed before the registration.
    missed: bool,
}

/// The reason why a wait ended.
pub(super) enum Event {
    /// The whole time has passed.
    Elapsed,
    /// A rule or the count of the key has changed.
    Changed(Change),
    /// The storage must be checked again.
    Recheck,
}

impl<'a> Pause<'a> {
    /// Starts a wait; `since` is the count of changes from before the request's check.
    pub(super) fn begin<'r>(
        limiter: &'a Limiter,
        key: &Key<'_>,
        rules: impl IntoIterator<Item = &'r str>,
        span: Duration,
        since: u64,
    ) -> Pause<'a> {
        let changes = &limiter.inner.changes;
        let registered = changes.register(key.clone().into_owned(), rules);
        let recheck = recheck_after(registered.number());
        Self {
            begun: limiter.now(),
            span,
            sleep: limiter.sleep(span),
            recheck: (span > RECHECK_INTERVAL).then(|| limiter.sleep(recheck)),
            missed: changes.count() != since,
            registered,
            limiter,
        }
    }

    /// Waits for the next event.
    pub(super) async fn next(&mut self) -> Event {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Returns how long the wait has lasted.
    pub(super) fn waited(&self) -> Duration {
        Duration::from(self.limiter.now().since(self.begun)).min(self.span)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        // Changes come first: the end of the wait may have moved, even if it has passed.
        if let Poll::Ready(change) = self.registered.poll_change(cx) {
            return Poll::Ready(Event::Changed(change));
        }
        if mem::take(&mut self.missed) {
            return Poll::Ready(Event::Recheck);
        }
        if self.sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Elapsed);
        }
        let Some(recheck) = &mut self.recheck else { return Poll::Pending };
        if recheck.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        *recheck = self.limiter.sleep(recheck_after(self.registered.number()));
        Poll::Ready(Event::Recheck)
    }
}

impl Limiter {
    /// Returns a future that completes after `span` of the limiter's own clock, or of the system clock; on any
    /// executor.
    #[must_use = "it waits only when it is awaited"]
    pub fn sleep(&self, span: Duration) -> Sleep {
        match &self.inner.clock {
            Some(clock) => clock.sleep(span),
            None => SystemClock.sleep(span),
        }
    }

    /// Returns how many times this limiter replaced or removed rules and reset keys.
    ///
    /// For adapters: read it before a check, so that a [wait](Self::wait_to_ask_again) notices later changes.
    #[must_use]
    pub fn change_count(&self) -> u64 {
        self.inner.changes.count()
    }

    /// Waits until a denied request should be checked again, and returns how long it waited.
    ///
    /// `rule` is the rule whose denial lasts longest, and `span` is its wait. The wait ends earlier if this limiter
    /// changes the rule or resets the key. It ends after at most one second in any case, because other servers may also
    /// change or reset them.
    ///
    /// For adapters. `since` is the [`change_count`](Self::change_count) from before the check.
    pub async fn wait_to_ask_again(
        &self,
        key: &Key<'_>,
        rule: &str,
        span: Duration,
        since: u64,
    ) -> Duration {
        let mut pause = Pause::begin(self, key, [rule], span, since);
        match pause.next().await {
            Event::Elapsed => span,
            Event::Changed(_) | Event::Recheck => pause.waited(),
        }
    }
}

/// Returns the time after which the request with this number checks the storage again.
fn recheck_after(number: u64) -> Duration {
    // 2^64 divided by the golden ratio: its multiples modulo 2^64 are distributed uniformly.
    let part = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    RECHECK_INTERVAL - RECHECK_JITTER.mul_f64(part as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_requests_check_at_different_times_within_a_second() {
        let mut all: Vec<_> = (1..=250).map(recheck_after).collect();
        all.sort_unstable();
        assert!(
            all[0] >= RECHECK_INTERVAL - RECHECK_JITTER && all[249] <= RECHECK_INTERVAL,
            "{all:?}"
        );
        let most = all.chunk_by(|one, other| one.as_millis() == other.as_millis()).map(<[_]>::len);
        assert!(most.max() <= Some(3), "of 250, about one in each millisecond: {all:?}");
    }
}
