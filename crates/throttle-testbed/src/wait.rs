//! Waits for other processes.

use std::{
    thread,
    time::{Duration, Instant},
};

/// The longest time that a server may take to start or to detect an event, on a busy machine.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls `ask` until it returns a value.
///
/// # Panics
///
/// If it returns `None` until `timeout`. The message contains `what`.
#[track_caller]
pub(crate) fn until<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + timeout;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {timeout:?} for {what}");
        pause(Duration::from_millis(10));
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing else runs on this test's thread")]
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}
