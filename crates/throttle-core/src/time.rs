//! Time as the arithmetic sees it: whole microseconds, read through a [`Clock`].

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

/// Counts whole microseconds: a moment (since the Unix epoch) or a span between two.
///
/// Arithmetic saturates, so that no clock and no configuration can make it panic or wrap.
///
/// ```
/// use std::time::Duration;
/// # mod ratethrottle { pub use throttle_core::*; pub mod engine { pub use super::*; } }
/// use ratethrottle::engine::Micros;
///
/// assert_eq!(Micros::from(Duration::from_nanos(1)), Micros::new(1)); // rounded up
/// assert_eq!(Duration::from(Micros::new(2_500)), Duration::from_micros(2_500));
/// ```
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Micros(u64);

impl Micros {
    /// No time at all, or the Unix epoch.
    pub const ZERO: Self = Self(0);
    /// The longest span and the latest moment.
    pub const MAX: Self = Self(u64::MAX);

    /// Takes a count of microseconds.
    #[inline]
    #[must_use]
    pub const fn new(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the count of microseconds.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Returns the moment of a system time; times before the epoch are the epoch.
    #[inline]
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        // In 64 bits, which hold more than half a million years.
        let micros = |d: Duration| {
            d.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(d.subsec_micros()))
        };
        Self(since.map_or(0, micros))
    }

    /// Returns the moment as a system time, as far as one can hold it.
    #[must_use]
    pub fn to_system_time(self) -> SystemTime {
        let since = Duration::from_micros(self.0);
        SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Returns the sum, at most [`Micros::MAX`].
    #[inline]
    #[must_use]
    pub const fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// Returns the span from `earlier` to this moment, zero when it is not earlier.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// Returns this span in whole seconds, rounded up.
    #[must_use]
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1_000_000)
    }
}

impl From<Duration> for Micros {
    /// Rounds up to the whole microsecond.
    fn from(span: Duration) -> Self {
        Self(u64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX))
    }
}

impl From<Micros> for Duration {
    fn from(span: Micros) -> Self {
        Self::from_micros(span.0)
    }
}

/// The wait that [`Clock::sleep`] returns.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Tells the time, and waits for it.
///
/// A limiter without a clock of its own leaves the time to its storage ([`SystemClock`] in one
/// process, the server's clock where several share a storage).
pub trait Clock: Send + Sync + 'static {
    /// Returns the moment it is now. Storages call it while they hold the states of a request: it is to be
    /// quick, and must not ask the limiter.
    fn now(&self) -> Micros;

    /// Waits for `span` of this clock's time.
    fn sleep(&self, span: Duration) -> Sleep;
}

/// The machine's clock; it sleeps on any executor.
#[derive(Copy, Clone, Default, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the clock is read")]
    fn now(&self) -> Micros {
        Micros::at(SystemTime::now())
    }

    fn sleep(&self, span: Duration) -> Sleep {
        Box::pin(futures_timer::Delay::new(span))
    }
}

/// A clock that moves only when a test moves it, forwards or back.
///
/// Clones share one time. A sleep on it ends when the clock has reached its end.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// # mod ratethrottle { pub use throttle_core::*; pub mod engine { pub use super::*; } }
/// use ratethrottle::{ManualClock, engine::{Clock, Micros}};
///
/// let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), Micros::new(1_767_225_660_000_000));
/// ```
#[derive(Clone, Default)]
pub struct ManualClock {
    inner: Arc<Mutex<Manual>>,
}

#[derive(Default)]
struct Manual {
    now: Micros,
    sleepers: Vec<Waker>,
}

impl ManualClock {
    /// Starts a clock that stands at `time`.
    #[inline]
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        let clock = Self::default();
        clock.set(time);
        clock
    }

    /// Moves the clock forwards by `span`, in whole microseconds.
    pub fn advance(&self, span: Duration) {
        self.jump(|now| now.plus(Micros::from(span)));
    }

    /// Sets the clock to `time`, which may lie before the time it shows.
    pub fn set(&self, time: SystemTime) {
        self.jump(|_| Micros::at(time));
    }

    fn jump(&self, to: impl FnOnce(Micros) -> Micros) {
        let mut inner = self.lock();
        inner.now = to(inner.now);
        let sleepers = std::mem::take(&mut inner.sleepers);
        drop(inner);
        sleepers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Manual> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Micros {
        self.lock().now
    }

    fn sleep(&self, span: Duration) -> Sleep {
        let end = self.now().plus(Micros::from(span));
        Box::pin(ManualSleep { clock: self.clone(), end })
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}

struct ManualSleep {
    clock: ManualClock,
    end: Micros,
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.clock.lock();
        if inner.now >= self.end {
            return Poll::Ready(());
        }
        inner.sleepers.push(cx.waker().clone());
        Poll::Pending
    }
}
