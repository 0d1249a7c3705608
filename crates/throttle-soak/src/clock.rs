//! The wall clock, which Redis goes by as well, being on the same machine.

use throttle_core::{Clock, SystemClock};

/// Returns the time in microseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    SystemClock.now().get()
}
