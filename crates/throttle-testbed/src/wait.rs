//! Waiting for what other processes do.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a server may take to start or to see what happened elsewhere, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Asks again until the answer is there.
///
/// # Panics
///
/// If it is not after `timeout`; the message says what was waited for.
#[track_caller]
pub(crate) fn until<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + timeout;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "waited {timeout:?} for {what}, in vain");
        pause(Duration::from_millis(10));
    }
}

#[expect(clippy::disallowed_methods, reason = "nothing else runs on this test's thread")]
pub(crate) fn pause(time: Duration) {
    thread::sleep(time);
}
