//! Time in whole microseconds ([`Micros`]), and the clocks that return it ([`Clock`]).

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

/// A number of whole microseconds: a point in time since the Unix epoch, or a duration.
///
/// Arithmetic saturates: no clock and no configuration makes it panic or wrap around.
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
    /// The duration zero, or the Unix epoch.
    pub const ZERO: Self = Self(0);
    /// The longest duration and the latest point in time.
    pub const MAX: Self = Self(u64::MAX);

    /// Creates a value from a number of microseconds.
    #[inline]
    #[must_use]
    pub const fn new(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the number of microseconds.
    #[inline]
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Converts a system time; times before the epoch become the epoch.
    #[inline]
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        let since = time.duration_since(SystemTime::UNIX_EPOCH);
        // 64 bits hold more than half a million years; 128-bit arithmetic would be slower.
        let micros = |d: Duration| {
            d.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(d.subsec_micros()))
        };
        Self(since.map_or(0, micros))
    }

    /// Converts to a system time; the epoch if the platform cannot represent the time.
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

    /// Returns the duration since `earlier`, or zero if `earlier` is later than this time.
    #[inline]
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// Returns this duration in whole seconds, rounded up.
    #[must_use]
    pub const fn as_secs_ceil(self) -> u64 {
        self.0.div_ceil(1_000_000)
    }
}

impl From<Duration> for Micros {
    /// Converts a duration, rounded up to whole microseconds.
    fn from(span: Duration) -> Self {
        Self(u64::try_from(span.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX))
    }
}

impl From<Micros> for Duration {
    fn from(span: Micros) -> Self {
        Self::from_micros(span.0)
    }
}

/// The future that [`Clock::sleep`] returns.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A source of the current time and of timers.
///
/// By default a limiter uses the clock of its storage: [`SystemClock`] for a storage in this process, the server's
/// clock for a storage that several processes share.
pub trait Clock: Send + Sync + 'static {
    /// Returns the current time.
    ///
    /// Storages call it while they hold the states of a request, so it must be fast and must not call the
    /// limiter.
    fn now(&self) -> Micros;

    /// Returns a future that completes after `span` of this clock's time.
    fn sleep(&self, span: Duration) -> Sleep;
}

/// The system clock. Its timers work on any executor.
#[derive(Copy, Clone, Default, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the only function that reads the system clock")]
    fn now(&self) -> Micros {
        Micros::at(SystemTime::now())
    }

    fn sleep(&self, span: Duration) -> Sleep {
        Box::pin(futures_timer::Delay::new(span))
    }
}

/// A clock for tests, which moves forwards or backwards only when it is set.
///
/// Clones share one time. A sleep completes when the clock reaches its end.
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
    /// Creates a clock that is set to `time`.
    #[inline]
    #[must_use]
    pub fn at(time: SystemTime) -> Self {
        let clock = Self::default();
        clock.set(time);
        clock
    }

    /// Moves the clock forwards by `span`, rounded up to whole microseconds.
    pub fn advance(&self, span: Duration) {
        self.jump(|now| now.plus(Micros::from(span)));
    }

    /// Sets the clock to `time`, which may be earlier than the current time.
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
