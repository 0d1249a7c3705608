//! The wall clock, which Redis on the same machine uses too.

use throttle_core::{Clock, SystemClock};

/// Returns the time in microseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    SystemClock.now().get()
}
