//! The state machine of a circuit breaker.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use throttle_core::StorageError;

use super::{
    config::{CircuitBreakerConfig, CircuitChange, CircuitState, CircuitStats},
    ring::Ring,
};

/// The state of a circuit.
///
/// In the common case the state is read and never written, so threads do not contend for its
/// cache line: a successful call changes nothing in a window that is full of successful calls.
/// While the circuit is open, a rejection takes two reads. Everything else happens under a lock.
pub(super) struct Machine {
    circuit: CircuitBreakerConfig,
    /// The phase in the lowest two bits, and above them the generation: how often the circuit
    /// opened or closed. One atomic holds both, so a result is never counted in a phase that
    /// it does not belong to.
    flag: AtomicU64,
    /// The earliest time of the next probe, in microseconds after `start`.
    probe_at: AtomicU64,
    start: Instant,
    locked: Mutex<Locked>,
    counts: Counts,
}

struct Locked {
    ring: Ring,
    /// Consecutive probes that succeeded.
    good_probes: u32,
}

#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    rejected: AtomicU64,
    half_open_calls: AtomicU64,
    failed: AtomicU64,
    slow: AtomicU64,
}

/// Closed, and the window is full of good calls.
const CLEAN: u64 = 0;
const CLOSED: u64 = 1;
const OPEN: u64 = 2;
/// A probe is in flight.
const PROBING: u64 = 3;
const PHASE: u64 = 3;

/// The permission to make one call.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Permit {
    generation: u64,
    pub(super) probe: bool,
}

/// The result of a call.
pub(super) enum CallResult<'a> {
    Success,
    Slow,
    Failure(&'a StorageError),
}

impl Machine {
    pub(super) fn new(circuit: CircuitBreakerConfig) -> Self {
        let ring = Ring::new(circuit.window_size);
        Self {
            circuit,
            flag: AtomicU64::new(CLOSED),
            probe_at: AtomicU64::new(0),
            start: Instant::now(),
            locked: Mutex::new(Locked { ring, good_probes: 0 }),
            counts: Counts::default(),
        }
    }

    pub(super) fn slow_call_threshold(&self) -> Option<Duration> {
        self.circuit.slow_call_threshold
    }

    /// Returns a permit if a call may be made.
    #[inline]
    pub(super) fn permit(&self) -> Option<Permit> {
        let flag = self.flag.load(Acquire);
        if flag & PHASE <= CLOSED {
            return Some(Permit { generation: flag >> 2, probe: false });
        }
        self.permit_probe(flag)
    }

    #[cold]
    fn permit_probe(&self, flag: u64) -> Option<Permit> {
        let due = flag & PHASE == OPEN && self.elapsed() >= self.probe_at.load(Relaxed);
        let probing = (flag & !PHASE) | PROBING;
        if !due || self.flag.compare_exchange(flag, probing, Acquire, Relaxed).is_err() {
            self.counts.rejected.fetch_add(1, Relaxed);
            return None;
        }
        self.counts.half_open_calls.fetch_add(1, Relaxed);
        self.report(CircuitState::Open, CircuitState::HalfOpen, None);
        Some(Permit { generation: flag >> 2, probe: true })
    }

    /// Records the result of a call that had a permit.
    #[inline]
    pub(super) fn record(&self, permit: Permit, result: &CallResult<'_>) {
        let clean = permit.generation << 2 | CLEAN;
        if matches!(result, CallResult::Success) && self.flag.load(Relaxed) == clean {
            return;
        }
        self.record_locked(permit, result);
    }

    fn record_locked(&self, permit: Permit, result: &CallResult<'_>) {
        match result {
            CallResult::Success => {}
            CallResult::Slow => _ = self.counts.slow.fetch_add(1, Relaxed),
            CallResult::Failure(_) => _ = self.counts.failed.fetch_add(1, Relaxed),
        }
        let change = {
            let mut locked = self.lock();
            let flag = self.flag.load(Acquire);
            if flag >> 2 != permit.generation {
                return; // the call began before the last change of state
            }
            match (permit.probe, flag & PHASE) {
                (true, PROBING) => self.record_probe(&mut locked, result),
                (false, CLEAN | CLOSED) => self.record_call(&mut locked, flag, result),
                _ => None,
            }
        };
        if let Some((from, to)) = change {
            let error = match result {
                CallResult::Failure(error) => Some(error.to_string()),
                _ => None,
            };
            self.report(from, to, error);
        }
    }

    fn record_call(
        &self,
        locked: &mut Locked,
        flag: u64,
        result: &CallResult<'_>,
    ) -> Option<Change> {
        let bad = !matches!(result, CallResult::Success);
        locked.ring.push(bad);
        let least = self.circuit.minimum_calls.min(self.circuit.window_size);
        if bad && locked.ring.len() >= least && locked.ring.share() >= self.circuit.failure_rate {
            self.counts.opened.fetch_add(1, Relaxed);
            self.open(locked, (flag >> 2) + 1);
            return Some((CircuitState::Closed, CircuitState::Open));
        }
        let phase = if locked.ring.is_clean() { CLEAN } else { CLOSED };
        self.flag.store((flag & !PHASE) | phase, Release);
        None
    }

    fn record_probe(&self, locked: &mut Locked, result: &CallResult<'_>) -> Option<Change> {
        let generation = self.flag.load(Relaxed) >> 2;
        if !matches!(result, CallResult::Success) {
            self.open(locked, generation);
            return Some((CircuitState::HalfOpen, CircuitState::Open));
        }
        locked.good_probes += 1;
        if locked.good_probes < self.circuit.half_open_calls {
            self.next_probe(0, generation);
            return None;
        }
        locked.ring.clear();
        self.flag.store(((generation + 1) << 2) | CLOSED, Release);
        Some((CircuitState::HalfOpen, CircuitState::Closed))
    }

    /// Discards a call that was dropped. If it was a probe, another probe may begin at once:
    /// otherwise the circuit would wait for its result forever.
    pub(super) fn forget(&self, permit: Permit) {
        if permit.probe {
            let _locked = self.lock();
            if self.flag.load(Acquire) == permit.generation << 2 | PROBING {
                self.next_probe(0, permit.generation);
            }
        }
    }

    fn open(&self, locked: &mut Locked, generation: u64) {
        locked.good_probes = 0;
        let longest = u64::try_from(self.circuit.open_duration.as_micros()).unwrap_or(u64::MAX);
        // Jitter, so that the instances do not all probe at the same time.
        let open_duration = longest - fastrand::u64(0..=longest / 4);
        self.next_probe(self.elapsed().saturating_add(open_duration), generation);
    }

    fn next_probe(&self, at: u64, generation: u64) {
        self.probe_at.store(at, Relaxed);
        self.flag.store(generation << 2 | OPEN, Release);
    }

    pub(super) fn stats(&self) -> CircuitStats {
        let counts = &self.counts;
        CircuitStats {
            state: match self.flag.load(Relaxed) & PHASE {
                CLEAN | CLOSED => CircuitState::Closed,
                OPEN => CircuitState::Open,
                _ => CircuitState::HalfOpen,
            },
            opened: counts.opened.load(Relaxed),
            rejected: counts.rejected.load(Relaxed),
            half_open_calls: counts.half_open_calls.load(Relaxed),
            failed: counts.failed.load(Relaxed),
            slow: counts.slow.load(Relaxed),
        }
    }

    /// Logs a change and calls the observers. Must be called without the lock, because callbacks
    /// are users' code.
    fn report(&self, from: CircuitState, to: CircuitState, error: Option<String>) {
        match (from, to) {
            (CircuitState::Closed, _) => {
                let error = error.as_deref().unwrap_or("answers are too slow");
                tracing::warn!(
                    target: "ratethrottle::resilience",
                    error, "the circuit opens: too many calls to the storage failed"
                );
            }
            (_, CircuitState::Closed) => {
                tracing::info!(
                    target: "ratethrottle::resilience",
                    "the circuit closes: the storage has recovered"
                )
            }
            _ => {
                tracing::debug!(
                    target: "ratethrottle::resilience",
                    error, "the circuit changes from {from:?} to {to:?}"
                )
            }
        }
        self.circuit.observers.notify(&CircuitChange { from, to, error });
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Change = (CircuitState, CircuitState);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_open_duration_has_jitter_and_never_exceeds_the_configured_one() {
        let machine =
            Machine::new(CircuitBreakerConfig::new().open_duration(Duration::from_secs(1)));
        let mut ends = BTreeSet::new();
        for _ in 0..100 {
            machine.open(&mut machine.lock(), 1);
            let left = machine.probe_at.load(Relaxed) - machine.elapsed();
            assert!((740_000..=1_000_000).contains(&left), "{left}");
            ends.insert(left / 10_000);
        }
        assert!(ends.len() > 10, "{ends:?}");
    }
}
