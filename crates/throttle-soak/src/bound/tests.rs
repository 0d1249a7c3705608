use super::*;

const WINDOW: u64 = 1_000_000;
/// The algorithms that allow exactly the limit at once.
const ALL: &[Algorithm] = &Algorithm::ALL;

fn bound(algorithm: Algorithm) -> Bound {
    Bound { algorithm, limit: 10, burst: 10, window: WINDOW, aligned: true }
}

/// Calls that took 200 µs, at times in milliseconds.
fn calls(millis: impl IntoIterator<Item = u64>) -> Vec<Call> {
    let call = |at| Call { start: 1_000 * at, end: 1_000 * at + 200, cost: 1 };
    millis.into_iter().map(call).collect()
}

#[test]
fn the_limit_at_once_is_no_violation_and_one_more_is() {
    for &algorithm in ALL {
        let within = calls((0..10).map(|i| 5_000 + i));
        assert_eq!(bound(algorithm).exceeded(&within, 0), None, "{algorithm}");
        let beyond = calls((0..11).map(|i| 5_000 + i));
        let excess = bound(algorithm).exceeded(&beyond, 0).expect("one too many");
        assert_eq!((excess.passed, excess.most), (11, 10), "{algorithm}");
        assert_eq!(bound(algorithm).exceeded(&beyond, 1), None, "{algorithm}: one was refunded");
    }
}

#[test]
fn one_too_many_is_found_in_hours_of_allowed_calls() {
    for &algorithm in ALL {
        // Nine in most seconds, and never all ten within one second.
        let mut all = calls((0..36_000).map(|i| 1_000_000 + 112 * i));
        assert_eq!(bound(algorithm).exceeded(&all, 0), None, "{algorithm}");
        // A bucket may have tokens left, and the counter may allow requests that the log does not.
        let extra = match algorithm {
            Algorithm::FixedWindow | Algorithm::SlidingWindowLog => 3,
            _ => 11,
        };
        let at = 2_000_050;
        all.extend(calls(std::iter::repeat_n(at, extra)));
        assert!(bound(algorithm).exceeded(&all, 0).is_some(), "{algorithm}");
    }
}

#[test]
fn permits_freed_after_a_window_may_be_used_again() {
    for &algorithm in ALL {
        let full = |at: u64| (0..10).map(move |_| at);
        let pause = if algorithm == Algorithm::FixedWindow { 1 } else { 1_001 };
        let all = calls(full(5_999).chain(full(5_999 + pause)));
        assert_eq!(bound(algorithm).exceeded(&all, 0), None, "{algorithm}");
        let early = calls(full(5_000).chain(full(5_700)));
        assert!(bound(algorithm).exceeded(&early, 0).is_some(), "{algorithm}");
    }
}

#[test]
fn a_call_that_may_have_been_charged_outside_an_interval_does_not_count() {
    for &algorithm in ALL {
        let mut all = calls((0..10).map(|i| 5_100 + i));
        // The call may have been charged at any moment of four seconds.
        all.push(Call { start: 2_500_000, end: 6_500_000, cost: 1 });
        assert_eq!(bound(algorithm).exceeded(&all, 0), None, "{algorithm}");
    }
}

#[test]
fn costs_and_bursts_count() {
    let token = Bound { burst: 4, ..bound(Algorithm::TokenBucket) };
    let cost = |at: u64, cost| Call { start: at, end: at + 100, cost };
    assert_eq!(token.exceeded(&[cost(10, 4), cost(100_200, 1)], 0), None);
    assert!(token.exceeded(&[cost(10, 4), cost(100, 1)], 0).is_some());
    // Long calls do not hide an excess of short ones.
    let hidden = [cost(10, 4), cost(200, 1), Call { start: 0, end: 900_000, cost: 1 }];
    assert!(token.exceeded(&hidden, 0).is_some());
    let share = Bound { limit: 7, ..token }.share(3);
    assert_eq!((share.limit, share.burst), (2, 1));
    assert_eq!(token.share(100).burst, 1);
}

#[test]
fn an_aligned_counter_includes_the_weight_of_the_previous_window() {
    let counter = bound(Algorithm::SlidingWindowCounter);
    // Ten at the start of a window have half their weight in the middle of the next one.
    let ten = |at: u64, n: u64| calls((0..10).map(|i| 5_100 + i).chain((0..n).map(|i| at + i)));
    assert_eq!(counter.exceeded(&ten(6_505, 5), 0), None);
    let excess = counter.exceeded(&ten(6_495, 6), 0).expect("one too many");
    assert_eq!((excess.passed, excess.most), (11, 10));
    assert_eq!(Bound { aligned: false, ..counter }.exceeded(&ten(6_495, 6), 0), None);
}
