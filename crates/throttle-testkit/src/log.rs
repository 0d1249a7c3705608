//! The log of a test, as text.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

/// The captured log of a test; clones share it.
///
/// # Examples
///
/// ```
/// let (log, _guard) = throttle_testkit::Log::start();
/// tracing::warn!("the proxy is not trusted");
/// assert!(log.take().contains("not trusted"));
/// assert_eq!(log.take(), "");
/// ```
#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<Vec<u8>>>,
}

impl Log {
    /// Captures the log of the current thread until the guard is dropped.
    #[must_use]
    pub fn start() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone());
        (log, tracing::subscriber::set_default(subscriber.finish()))
    }

    /// Captures the log of the current thread, with debug events.
    pub(crate) fn start_debug() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG);
        let subscriber = subscriber.with_ansi(false).with_writer(log.clone());
        (log, tracing::subscriber::set_default(subscriber.finish()))
    }

    /// Captures the log of all threads, except those that called [`start`](Self::start).
    ///
    /// # Panics
    ///
    /// Panics if the program already has a global subscriber.
    #[must_use]
    pub fn start_everywhere() -> Self {
        let log = Self::default();
        tracing_subscriber::fmt().with_ansi(false).with_writer(log.clone()).init();
        log
    }

    /// Returns the text that was logged since the last call.
    pub fn take(&self) -> String {
        let lines = std::mem::take(&mut *self.lines());
        String::from_utf8_lossy(&lines).into_owned()
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lines().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
