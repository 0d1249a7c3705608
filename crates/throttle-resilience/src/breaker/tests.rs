//! The circuit, call by call.

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
    machine::{Machine, Permit, Went},
};

fn broken() -> StorageError {
    StorageError::other("it broke")
}

/// Makes calls that all go in one way; returns how many went through.
fn calls(machine: &Machine, count: usize, good: bool) -> usize {
    let call = |_: &usize| {
        let Some(permit) = machine.permit() else { return false };
        let error = broken();
        machine.record(permit, &if good { Went::Well } else { Went::Failed(&error) });
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
    panic!("no probe was let through");
}

#[expect(clippy::disallowed_methods, reason = "nothing else runs on this test's thread")]
fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

#[test]
fn it_opens_at_the_share_and_not_before_there_were_enough_calls() {
    let machine = Machine::new(circuit());
    assert_eq!(calls(&machine, 9, false), 9);
    assert_eq!(machine.stats().state, CircuitState::Closed);
    assert_eq!(calls(&machine, 2, false), 1, "the tenth opens it");
    let figures = machine.stats();
    assert_eq!((figures.state, figures.opened, figures.rejected), (CircuitState::Open, 1, 1));

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
        machine.record(machine.permit().unwrap(), &Went::Slowly);
    }
    let figures = machine.stats();
    assert_eq!((figures.state, figures.slow, figures.failed), (CircuitState::Open, 10, 0));
}

#[test]
fn while_it_is_open_nothing_passes_and_then_one_probe_at_a_time() {
    let machine = opened();
    assert_eq!(calls(&machine, 100, true), 0);
    pause(25);
    let permit = machine.permit().expect("one may probe");
    assert_eq!(machine.stats().state, CircuitState::HalfOpen);
    assert_eq!(calls(&machine, 100, true), 0, "the others wait for what it brings");
    machine.record(permit, &Went::Well);
    assert_eq!(machine.stats().state, CircuitState::Closed);
    assert_eq!(calls(&machine, 100, true), 100);
}

#[test]
fn a_probe_that_fails_opens_it_for_as_long_again() {
    let machine = opened();
    machine.record(probe(&machine), &Went::Failed(&broken()));
    let figures = machine.stats();
    assert_eq!(
        (figures.state, figures.opened, figures.half_open_calls),
        (CircuitState::Open, 1, 1)
    );
    assert!(machine.permit().is_none());
    machine.record(probe(&machine), &Went::Well);
    assert_eq!(machine.stats().state, CircuitState::Closed);
}

#[test]
fn several_probes_go_one_after_the_other() {
    let machine = Machine::new(circuit().half_open_calls(3));
    calls(&machine, 10, false);
    for _ in 0..3 {
        assert_ne!(machine.stats().state, CircuitState::Closed);
        let permit = probe(&machine);
        assert!(machine.permit().is_none());
        machine.record(permit, &Went::Well);
    }
    assert_eq!(machine.stats().state, CircuitState::Closed);
}

#[test]
fn a_probe_that_is_given_up_lets_another_go() {
    let machine = opened();
    let permit = probe(&machine);
    machine.forget(permit);
    assert_eq!(machine.stats().state, CircuitState::Open);
    machine.record(machine.permit().expect("another may go at once"), &Went::Well);
    assert_eq!(machine.stats().state, CircuitState::Closed);
    machine.forget(permit);
    assert_eq!(machine.stats().state, CircuitState::Closed, "its time is over");
}

#[test]
fn what_was_sent_before_it_opened_changes_nothing_when_it_comes_late() {
    let machine = Machine::new(circuit());
    let late: Vec<_> = (0..40).map(|_| machine.permit().unwrap()).collect();
    calls(&machine, 10, false);
    machine.record(late[0], &Went::Well);
    assert_eq!(machine.stats().state, CircuitState::Open, "a late success closes nothing");
    machine.record(probe(&machine), &Went::Well);
    for permit in &late[1..] {
        machine.record(*permit, &Went::Failed(&broken()));
    }
    assert_eq!(machine.stats().state, CircuitState::Closed, "late failures open nothing");
}

#[test]
fn each_change_is_told_once_with_what_led_to_it() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let circuit = circuit()
        .open_duration(Duration::from_secs(1))
        .on_change(move |change| told.lock().unwrap().push(change.clone()));
    let machine = Machine::new(circuit);
    calls(&machine, 1_000, false);
    machine.record(probe(&machine), &Went::Well);
    calls(&machine, 1_000, true);
    let seen = seen.lock().unwrap();
    let states: Vec<_> = seen.iter().map(|change| (change.from, change.to)).collect();
    use CircuitState::{Closed, HalfOpen, Open};
    assert_eq!(states, [(Closed, Open), (Open, HalfOpen), (HalfOpen, Closed)]);
    assert!(seen[0].error.as_ref().unwrap().contains("it broke"));
}

#[test]
fn a_callback_that_panics_harms_nobody() {
    let machine = Machine::new(circuit().on_change(|_| panic!("as the test asks")));
    calls(&machine, 10, false);
    machine.record(probe(&machine), &Went::Well);
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
                    machine.record(permit, &if bad { Went::Failed(&error) } else { Went::Well });
                }
            });
        }
    });
    assert_eq!(most.load(Relaxed), 1, "probes at once");
    let figures = machine.stats();
    assert!(figures.opened > 0 && figures.rejected > 0, "{figures:?}");
    machine.record(probe(&machine), &Went::Well);
    assert_eq!(calls(&machine, 9, true), 9, "{:?}", machine.stats());
}
