//! What a circuit breaker goes by, and what it tells.

use std::time::Duration;

use serde::Serialize;

use crate::observer::Observers;

/// Says when a circuit breaker opens, for how long, and who is told.
#[derive(Clone, Debug)]
#[must_use]
pub struct CircuitBreakerConfig {
    pub(super) window_size: usize,
    pub(super) minimum_calls: usize,
    pub(super) failure_rate: f64,
    pub(super) slow_call_threshold: Option<Duration>,
    pub(super) open_duration: Duration,
    pub(super) half_open_calls: u32,
    pub(super) observers: Observers<CircuitChange>,
}

impl CircuitBreakerConfig {
    /// Opens when half of the latest 100 calls failed, once there were 10, for half a second.
    pub fn new() -> Self {
        Self {
            window_size: 100,
            minimum_calls: 10,
            failure_rate: 0.5,
            slow_call_threshold: None,
            open_duration: Duration::from_millis(500),
            half_open_calls: 1,
            observers: Observers::default(),
        }
    }

    /// Judges by so many of the latest calls, from 1 to a million; default 100.
    pub fn window_size(mut self, calls: usize) -> Self {
        self.window_size = calls.clamp(1, 1_000_000);
        self
    }

    /// Does not judge before there were so many calls; default 10. More than the window counts as that.
    pub fn minimum_calls(mut self, calls: usize) -> Self {
        self.minimum_calls = calls.max(1);
        self
    }

    /// Opens when this share of the calls was bad, from 0 to 1; default 0.5.
    pub fn failure_rate(mut self, failure_rate: f64) -> Self {
        self.failure_rate = if failure_rate.is_nan() { 0.5 } else { failure_rate.clamp(0.0, 1.0) };
        self
    }

    /// Counts a call that took longer than this as one that failed; default: none is too slow that came
    /// before its deadline.
    pub fn slow_call_threshold(mut self, span: Duration) -> Self {
        self.slow_call_threshold = Some(span);
        self
    }

    /// Stays open for so long before one request probes whether the storage is back; default 500 ms. Each
    /// time it is shorter by up to a quarter, at random: servers do not probe all at once, and a storage that
    /// comes and goes by a beat of its own is not missed each time.
    pub fn open_duration(mut self, span: Duration) -> Self {
        self.open_duration = span;
        self
    }

    /// Closes after so many probes in a row went well, one at a time; default 1.
    pub fn half_open_calls(mut self, half_open_calls: u32) -> Self {
        self.half_open_calls = half_open_calls.max(1);
        self
    }

    /// Calls `callback` for each change of state, on the path of the request that changed it: keep it
    /// short. May be said several times.
    pub fn on_change(mut self, callback: impl Fn(&CircuitChange) + Send + Sync + 'static) -> Self {
        self.observers.add(callback);
        self
    }
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Says whether calls go through.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CircuitState {
    /// All calls go through.
    Closed,
    /// None does.
    Open,
    /// One does, to see whether the storage is back.
    HalfOpen,
}

/// Tells that a circuit changed its state.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CircuitChange {
    /// The state before.
    pub from: CircuitState,
    /// The state from now on.
    pub to: CircuitState,
    /// What the call failed with that changed it; none if it went well or was too slow.
    pub error: Option<String>,
}

/// Counts what a circuit breaker saw and did since it was made.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct CircuitStats {
    /// The state it is in.
    pub state: CircuitState,
    /// How often it opened, probes that failed not counted.
    pub opened: u64,
    /// Calls that it did not let through.
    pub rejected: u64,
    /// Calls that it let through to probe.
    pub half_open_calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that went well but too slowly.
    pub slow: u64,
}
