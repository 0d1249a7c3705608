//! The configuration of a circuit breaker, and its events and statistics.

use std::time::Duration;

use serde::Serialize;

use crate::observer::Observers;

/// The configuration of a [`CircuitBreaker`](crate::CircuitBreaker).
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
    /// Creates the default configuration: the circuit opens for 500 ms when at least half of the
    /// latest 100 calls failed, after a minimum of 10 calls.
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

    /// Sets the number of latest calls that are considered, from 1 to a million. Default: 100.
    pub fn window_size(mut self, calls: usize) -> Self {
        self.window_size = calls.clamp(1, 1_000_000);
        self
    }

    /// Sets the number of calls before the circuit can open, at most the window size. Default: 10.
    pub fn minimum_calls(mut self, calls: usize) -> Self {
        self.minimum_calls = calls.max(1);
        self
    }

    /// Sets the share of failed or slow calls at which the circuit opens, from 0 to 1. Default:
    /// 0.5.
    pub fn failure_rate(mut self, failure_rate: f64) -> Self {
        self.failure_rate = if failure_rate.is_nan() { 0.5 } else { failure_rate.clamp(0.0, 1.0) };
        self
    }

    /// Sets the duration above which a successful call counts as a failure. Default: none, only the
    /// deadline applies.
    pub fn slow_call_threshold(mut self, span: Duration) -> Self {
        self.slow_call_threshold = Some(span);
        self
    }

    /// Sets how long the circuit stays open before a call probes the storage. Default: 500 ms.
    ///
    /// Each period is shortened by a random part of up to a quarter. So instances do not all probe
    /// at the same time, and probes do not fall into step with a storage that fails periodically.
    pub fn open_duration(mut self, span: Duration) -> Self {
        self.open_duration = span;
        self
    }

    /// Sets how many consecutive probes must succeed before the circuit closes, one at a time.
    /// Default: 1.
    pub fn half_open_calls(mut self, half_open_calls: u32) -> Self {
        self.half_open_calls = half_open_calls.max(1);
        self
    }

    /// Adds a callback for changes of state. May be called more than once.
    ///
    /// The callback runs in the request that caused the change, so keep it short.
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

/// The state of a circuit.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CircuitState {
    /// All calls are made.
    Closed,
    /// No calls are made.
    Open,
    /// One call at a time probes whether the storage is back.
    HalfOpen,
}

/// A change of a circuit's state.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct CircuitChange {
    /// The previous state.
    pub from: CircuitState,
    /// The new state.
    pub to: CircuitState,
    /// The error of the call that caused the change, if it failed.
    pub error: Option<String>,
}

/// Statistics of a circuit breaker since it was created.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize)]
#[non_exhaustive]
pub struct CircuitStats {
    /// The current state.
    pub state: CircuitState,
    /// The number of times that the circuit opened, not counting failed probes.
    pub opened: u64,
    /// Calls rejected while it was open.
    pub rejected: u64,
    /// Probe calls.
    pub half_open_calls: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that succeeded but were slower than the threshold.
    pub slow: u64,
}
