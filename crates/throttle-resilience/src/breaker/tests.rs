//! Tests of the circuit breaker's state machine.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use throttle_core::StorageError;

use super::{
    config::{CircuitBreakerConfig, CircuitState},
    machine::{CallResult, Machine, Permit},
};

fn broken() -> StorageError {
    StorageError::other("it broke")
}

/// Makes calls that all succeed or all fail; returns how many were allowed.
fn calls(machine: &Machine, count: usize, good: bool) -> usize {
    let call = |_: &usize| {
        let Some(permit) = machine.permit() else { return false };
        let error = broken();
        machine
            .record(permit, &if good { CallResult::Success } else { CallResult::Failure(&error) });
        true
    };
    (0..count).filter(call).count()
}

fn circuit() -> CircuitBreakerConfig {
    CircuitBreakerConfig::new()
        .window_size(20)
        .minimum_calls(10)
        .open_duration(Duration::from_millis(20))
}

fn opened() -> Machine {
    let machine = Machine::new(circuit());
    calls(&machine, 10, false);
    assert_eq!(machine.stats().state, CircuitState::Open);
    machine
}

fn probe(machine: &Machine) -> Permit {
    for _ in 0..10_000 {
        if let Some(permit) = machine.permit() {
            return permit;
        }
        pause(1);
    }
    panic!("no probe was allowed");
}

#[expect(clippy::disallowed_methods, reason = "nothing else runs on this test's thread")]
fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[test]
fn it_opens_at_the_failure_rate_and_not_before_the_minimum_calls() {
    let machine = Machine::new(circuit());
    assert_eq!(calls(&machine, 9, false), 9);
    assert_eq!(machine.stats().state, CircuitState::Closed);
    assert_eq!(calls(&machine, 2, false), 1, "the tenth opens it");
    let stats = machine.stats();
    assert_eq!((stats.state, stats.opened, stats.rejected), (CircuitState::Open, 1, 1));

    let machine = Machine::new(circuit());
    calls(&machine, 20, true);
    assert_eq!(calls(&machine, 9, false), 9, "9 of 20 are less than half");
    assert_eq!(calls(&machine, 20, true), 20);
    assert_eq!(calls(&machine, 11, false), 10, "the old ones have left the window");
}

#[test]
fn slow_calls_count_as_failures() {
    let machine = Machine::new(circuit());
    for _ in 0..10 {
        machine.record(machine.permit().unwrap(), &CallResult::Slow);
    }
    let stats = machine.stats();
    assert_eq!((stats.state, stats.slow, stats.failed), (CircuitState::Open, 10, 0));
}

#[test]
fn while_open_it_rejects_all_calls_and_then_allows_one_probe_at_a_time() {
    let machine = opened();
    assert_eq!(calls(&machine, 100, true), 0);
    pause(25);
    let permit = machine.permit().expect("one may probe");
    assert_eq!(machine.stats().state, CircuitState::HalfOpen);
    assert_eq!(calls(&machine, 100, true), 0, "only one probe at a time");
    machine.record(permit, &CallResult::Success);
    assert_eq!(machine.stats().state, CircuitState::Closed);
    assert_eq!(calls(&machine, 100, true), 100);
}

#[test]
fn a_failed_probe_opens_it_again() {
    let machine = opened();
    machine.record(probe(&machine), &CallResult::Failure(&broken()));
    let stats = machine.stats();
    assert_eq!((stats.state, stats.opened, stats.half_open_calls), (CircuitState::Open, 1, 1));
    assert!(machine.permit().is_none());
    machine.record(probe(&machine), &CallResult::Success);
    assert_eq!(machine.stats().state, CircuitState::Closed);
}

#[test]
fn several_probes_run_one_after_another() {
    let machine = Machine::new(circuit().half_open_calls(3));
    calls(&machine, 10, false);
    for _ in 0..3 {
        assert_ne!(machine.stats().state, CircuitState::Closed);
        let permit = probe(&machine);
        assert!(machine.permit().is_none());
        machine.record(permit, &CallResult::Success);
    }
    assert_eq!(machine.stats().state, CircuitState::Closed);
}

#[test]
fn a_dropped_probe_allows_another() {
    let machine = opened();
    let permit = probe(&machine);
    machine.forget(permit);
    assert_eq!(machine.stats().state, CircuitState::Open);
    machine.record(machine.permit().expect("another is allowed at once"), &CallResult::Success);
    assert_eq!(machine.stats().state, CircuitState::Closed);
    machine.forget(permit);
    assert_eq!(machine.stats().state, CircuitState::Closed, "its generation has ended");
}

#[test]
fn results_of_calls_from_before_it_opened_change_nothing() {
    let machine = Machine::new(circuit());
    let late: Vec<_> = (0..40).map(|_| machine.permit().unwrap()).collect();
    calls(&machine, 10, false);
    machine.record(late[0], &CallResult::Success);
    assert_eq!(machine.stats().state, CircuitState::Open, "a late success closes nothing");
    machine.record(probe(&machine), &CallResult::Success);
    for permit in &late[1..] {
        machine.record(*permit, &CallResult::Failure(&broken()));
    }
    assert_eq!(machine.stats().state, CircuitState::Closed, "late failures open nothing");
}

#[test]
fn each_change_is_reported_once_with_its_cause() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let changes = Arc::clone(&seen);
    let circuit = circuit()
        .open_duration(Duration::from_secs(1))
        .on_change(move |change| changes.lock().unwrap().push(change.clone()));
    let machine = Machine::new(circuit);
    calls(&machine, 1_000, false);
    machine.record(probe(&machine), &CallResult::Success);
    calls(&machine, 1_000, true);
    let seen = seen.lock().unwrap();
    let states: Vec<_> = seen.iter().map(|change| (change.from, change.to)).collect();
    use CircuitState::{Closed, HalfOpen, Open};
    assert_eq!(states, [(Closed, Open), (Open, HalfOpen), (HalfOpen, Closed)]);
    assert!(seen[0].error.as_ref().unwrap().contains("it broke"));
}

#[test]
fn a_panicking_callback_affects_no_call() {
    let machine = Machine::new(circuit().on_change(|_| panic!("expected by the test")));
    calls(&machine, 10, false);
    machine.record(probe(&machine), &CallResult::Success);
    assert_eq!(calls(&machine, 100, true), 100);
}

#[test]
fn many_threads_get_one_probe_and_no_change_is_lost() {
    let machine = Machine::new(circuit().open_duration(Duration::from_millis(1)));
    let (inside, most) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (machine, inside, most) = (&machine, &inside, &most);
            scope.spawn(move || {
                for i in 0..20_000_u64 {
                    let Some(permit) = machine.permit() else { continue };
                    if permit.probe {
                        most.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Relaxed);
                    }
                    let (bad, error) = ((i + thread) % 3 != 0, broken());
                    machine.record(
                        permit,
                        &if bad { CallResult::Failure(&error) } else { CallResult::Success },
                    );
                }
            });
        }
    });
    assert_eq!(most.load(Relaxed), 1, "probes at once");
    let stats = machine.stats();
    assert!(stats.opened > 0 && stats.rejected > 0, "{stats:?}");
    machine.record(probe(&machine), &CallResult::Success);
    assert_eq!(calls(&machine, 9, true), 9, "{:?}", machine.stats());
}
