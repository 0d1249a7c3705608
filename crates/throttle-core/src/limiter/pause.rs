//! A wait that ends early where something has changed.

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

/// After how long at most a request that waits looks again: other servers and limiters reset keys, too, refunds make
/// room, and lists change.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// By how much less than that at most, so that requests that began to wait together do not look together.
const LOOK_EARLIER: Duration = Duration::from_millis(250);

/// The wait of a request.
pub(super) struct Pause<'a> {
    limiter: &'a Limiter,
    begun: Micros,
    span: Duration,
    sleep: Sleep,
    /// None where all of the wait is shorter.
    look_again: Option<Sleep>,
    registered: Registered<'a>,
    /// Whether something changed before it was registered.
    missed: bool,
}

/// Why a wait stopped.
pub(super) enum Event {
    /// It is over.
    Elapsed,
    Changed(Change),
    /// It is time to look at the storage again.
    LookAgain,
}

impl<'a> Pause<'a> {
    /// Begins to wait; `since` is the count of changes from before the request asked.
    pub(super) fn begin<'r>(
        limiter: &'a Limiter,
        key: &Key<'_>,
        rules: impl IntoIterator<Item = &'r str>,
        span: Duration,
        since: u64,
    ) -> Pause<'a> {
        let changes = &limiter.inner.changes;
        let registered = changes.register(key.clone().into_owned(), rules);
        let look_again = look_again_after(registered.number());
        Self {
            begun: limiter.now(),
            span,
            sleep: limiter.sleep(span),
            look_again: (span > LOOK_AGAIN).then(|| limiter.sleep(look_again)),
            missed: changes.count() != since,
            registered,
            limiter,
        }
    }

    /// Waits for what comes next.
    pub(super) async fn next(&mut self) -> Event {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Returns how long it has waited.
    pub(super) fn waited(&self) -> Duration {
        Duration::from(self.limiter.now().since(self.begun)).min(self.span)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        // First what has changed: a time that is over may have moved.
        if let Poll::Ready(change) = self.registered.poll_change(cx) {
            return Poll::Ready(Event::Changed(change));
        }
        if mem::take(&mut self.missed) {
            return Poll::Ready(Event::LookAgain);
        }
        if self.sleep.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Elapsed);
        }
        let Some(look_again) = &mut self.look_again else { return Poll::Pending };
        if look_again.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        *look_again = self.limiter.sleep(look_again_after(self.registered.number()));
        Poll::Ready(Event::LookAgain)
    }
}

impl Limiter {
    /// Waits for `span` by the limiter's own clock, or the machine's; on any executor.
    #[must_use = "it waits when it is awaited"]
    pub fn sleep(&self, span: Duration) -> Sleep {
        match &self.inner.clock {
            Some(clock) => clock.sleep(span),
            None => SystemClock.sleep(span),
        }
    }

    /// Returns how many times rules were replaced or removed and keys reset, by this limiter.
    ///
    /// For adapters: read it before a request asks, and a [wait](Self::wait_to_ask_again) notices what
    /// changed from then on.
    #[must_use]
    pub fn change_count(&self) -> u64 {
        self.inner.changes.count()
    }

    /// Waits until a request that `rule` denied for the longest time is to ask again, and returns how long that was:
    /// `span`, or less where the rule or its count of the key has changed, and one second at most, since other
    /// servers change them, too.
    ///
    /// For adapters. `since` is the [`change_count`](Self::change_count) from before the request asked.
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
            Event::Changed(_) | Event::LookAgain => pause.waited(),
        }
    }
}

/// Returns after how long the request with this number looks again.
fn look_again_after(number: u64) -> Duration {
    // 2^64 divided by the golden ratio: multiples of it, modulo 2^64, are spread evenly.
    let part = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    LOOK_AGAIN - LOOK_EARLIER.mul_f64(part as f64 / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_wait_look_at_different_times_within_a_second() {
        let mut all: Vec<_> = (1..=250).map(look_again_after).collect();
        all.sort_unstable();
        assert!(all[0] >= LOOK_AGAIN - LOOK_EARLIER && all[249] <= LOOK_AGAIN, "{all:?}");
        let most = all.chunk_by(|one, other| one.as_millis() == other.as_millis()).map(<[_]>::len);
        assert!(most.max() <= Some(3), "of 250, about one in each millisecond: {all:?}");
    }
}
