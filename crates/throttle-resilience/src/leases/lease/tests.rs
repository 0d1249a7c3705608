//! Tests of a lease's arithmetic.

use throttle_core::{Algorithm, Rule};

use super::*;
use crate::leases::{LeaseBudget, plan::Named};

const fn at(micros: u64) -> Micros {
    Micros::new(micros)
}

fn lease(algorithm: Algorithm) -> Lease {
    let named = Named::new("r".into(), LeaseBudget::percent(10));
    let rule = Rule::per_second("r", 1_000).algorithm(algorithm).check().unwrap();
    Lease::new(named.plan(&Arc::new(rule)), at(0))
}

fn batch(mark: u64, count: u64, until: u64) -> Batch {
    let receipt = Some(Receipt::new(at(mark), 0));
    Batch { receipt, taken: count, left: count, until: at(until), ends: at(until) }
}

#[test]
fn permits_are_spent_oldest_first_and_not_after_they_expire() {
    let mut lease = lease(Algorithm::TokenBucket);
    lease.deposit(batch(1, 3, 100));
    lease.deposit(batch(2, 5, 200));
    assert_eq!((lease.spend(2), lease.left()), (batch(1, 0, 0).receipt, 6));
    assert_eq!(lease.spend(3), batch(1, 0, 0).receipt, "the older of two batches");
    lease.advance(at(199));
    assert_eq!((lease.left(), lease.take_returns().len()), (3, 0));
    lease.advance(at(200));
    assert_eq!((lease.left(), lease.take_returns()[0].left), (0, 3));
    assert_eq!(lease.held(), 3, "held until they are returned");
    lease.returned(3);
    assert!(lease.is_empty());
}

#[test]
fn permits_of_two_windows_are_spent_in_order() {
    let mut lease = lease(Algorithm::FixedWindow);
    lease.deposit(batch(1, 3, 100));
    lease.deposit(batch(2, 5, 200));
    lease.spend(3);
    assert_eq!((lease.spend(4), lease.left()), (batch(2, 0, 0).receipt, 1));
}

#[test]
fn batches_of_one_window_are_merged() {
    let mut lease = lease(Algorithm::FixedWindow);
    lease.deposit(batch(1, 3, 100));
    lease.deposit(batch(1, 5, 90));
    assert_eq!(lease.batches[..], [batch(1, 8, 100)]);
    lease.spend(8);
    assert!(lease.put_back(batch(1, 0, 0).receipt, 8, 100), "its window has not ended");
    assert_eq!(lease.left(), 8);
}

#[test]
fn a_put_back_is_bounded_by_what_was_spent_and_by_what_may_be_held() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindowLog] {
        let mut lease = lease(algorithm);
        lease.deposit(batch(1, 10, 100));
        let receipt = lease.spend(3);
        assert!(!lease.put_back(receipt, 4, 100), "more than was spent");
        assert!(!lease.put_back(receipt, 3, 9), "more than may be held");
        assert!(!lease.put_back(Some(Receipt::new(at(2), 0)), 3, 100), "another charge's");
        assert!(!lease.put_back(None, 3, 100));
        assert!(lease.put_back(receipt, 3, 100));
        assert!(!lease.put_back(receipt, 1, 100), "all permits are back already");
    }
}

#[test]
fn a_clock_that_steps_back_ends_the_lease() {
    let mut lease = lease(Algorithm::SlidingWindowCounter);
    lease.advance(at(50));
    lease.deposit(batch(1, 10, 100));
    lease.advance(at(49));
    assert_eq!((lease.left(), lease.take_returns().len()), (0, 1));
}

#[test]
fn held_requested_and_lost_permits_never_exceed_the_maximum() {
    let mut lease = lease(Algorithm::FixedWindow);
    for _ in 0..1_000 {
        lease.record_demand(1, at(10));
    }
    assert_eq!(lease.ahead(at(10), 50), Some(50));
    lease.deposit(batch(1, 20, 1_000_000));
    assert_eq!(lease.ahead(at(10), 50), Some(30));
    lease.lose(25, at(500));
    assert_eq!(lease.ahead(at(10), 50), Some(5));
    assert_eq!(lease.needed(25, at(10), 50), Some(5));
    assert_eq!(lease.needed(26, at(10), 50), None, "more than may be held");
    lease.ask(5, Arc::new(PendingFetch::new()));
    assert_eq!((lease.held(), lease.ahead(at(10), 50)), (50, None));
    lease.answered();
    lease.advance(at(500));
    assert_eq!(lease.held(), 20, "lost permits are dropped when they no longer count");
    lease.back_off(at(500));
    assert_eq!(lease.needed(26, at(501), 50), None, "fetching pauses");
}

#[test]
fn the_number_of_held_permits_follows_the_rate() {
    let mut lease = lease(Algorithm::FixedWindow);
    lease.deposit(batch(1, 100, 10_000_000));
    for n in 0..400 {
        lease.record_demand(1, at(n * 1_000)); // 1,000 a second, a quarter of which lasts a quarter second
    }
    assert!((225..=260).contains(&lease.wanted(at(400_000), 1_000)));
    assert!(!lease.is_cold(at(400_000)));
    lease.trim(at(400_000), 1_000);
    assert!(lease.take_returns().is_empty());
    // Then no requests for a second.
    assert!(lease.is_cold(at(1_400_000)));
    lease.trim(at(1_400_000), 1_000);
    assert_eq!(lease.left() + lease.take_returns()[0].left, 100);
    assert!(lease.left() < 50, "{}", lease.left());
}

#[test]
fn a_shortage_rejects_requests_until_half_of_a_batch_can_be_free() {
    let mut lease = lease(Algorithm::TokenBucket);
    lease.deposit(batch(1, 2, 1_000_000));
    let verdict = Verdict { remaining: 3, reset_after: at(900_000), ..Verdict::default() };
    lease.record_verdict(&verdict, at(7), at(10));
    lease.record_denial(4, at(40_000), at(5));
    assert!(lease.rejection(5, at(10)).is_none(), "the storage has the 3 that are missing");
    let (verdict, _) = lease.rejection(6, at(10_005)).unwrap();
    assert!(!verdict.allowed && verdict.receipt.is_none());
    assert_eq!((verdict.remaining, verdict.retry_after), (5, Some(at(10_000))));
    assert_eq!(lease.needed(6, at(10_005), 50), None, "no fetch in the meantime");
    assert!(lease.rejection(6, at(20_005)).is_none());
    assert!(lease.needed(6, at(20_005), 50).is_some(), "fetching resumes");

    lease.record_denial(1, at(3_000), at(30_000));
    assert!(lease.rejection(9, at(32_999)).is_some() && lease.rejection(9, at(33_000)).is_none());
    lease.record_denial(1, at(60_000_000), at(40_000));
    assert!(lease.rejection(9, at(539_999)).is_some() && lease.rejection(9, at(540_000)).is_none());
    lease.deposit(batch(2, 1, 1_000_000));
    assert!(lease.rejection(9, at(40_001)).is_none(), "a batch has arrived");
    lease.record_denial(1, at(60_000_000), at(40_000));
    lease.advance(at(40_001));
    lease.advance(at(40_000));
    assert!(lease.rejection(9, at(40_000)).is_none(), "the clock stepped back");
}

#[test]
fn under_contention_waits_double_up_to_the_time_that_frees_half_of_the_budget() {
    let waited = |lease: &mut Lease, others_took| {
        lease.record_partial(1, Short { whole: at(2_000), others_took }, at(100_000), at(0));
        lease.backoff_until.get()
    };
    // The budget is 90 permits of a bucket (10 % of the part that is not its reserve) and 100 of a
    // counter.
    for (algorithm, most) in
        [(Algorithm::TokenBucket, 45_000), (Algorithm::SlidingWindowCounter, 50_000)]
    {
        let mut lease = lease(algorithm);
        let waits: Vec<_> = (0..7).map(|_| waited(&mut lease, true)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, most], "{algorithm}");
        lease.record_denial(1, at(2_000), at(0));
        assert_eq!(lease.backoff_until, at(most));
        (0..100).for_each(|_| assert!(waited(&mut lease, true) <= most));
        assert_eq!(waited(&mut lease, true), most);
        (0..MAX_CONTENTION).for_each(|_| lease.record_full(8));
        assert_eq!(waited(&mut lease, false), 1_000, "there is no contention any more");
        waited(&mut lease, true);
        waited(&mut lease, true);
        assert_eq!([waited(&mut lease, false), waited(&mut lease, false)], [4_000, 2_000]);
    }
    // These algorithms free permits all at once, at a known time, so there is nothing to wait for
    // longer.
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindowLog] {
        let mut lease = lease(algorithm);
        let waits: Vec<_> = (0..3).map(|_| waited(&mut lease, true)).collect();
        assert_eq!(waits, [1_000; 3], "{algorithm}");
    }
}

#[test]
fn under_contention_a_small_batch_fetches_only_what_is_needed() {
    let mut lease = lease(Algorithm::TokenBucket);
    (0..50).for_each(|_| lease.record_demand(1, at(0)));
    let small = SMALL - 1;
    assert_eq!((lease.needed(1, at(0), small), lease.ahead(at(0), small)), (Some(7), Some(7)));
    lease.record_partial(1, Short { whole: at(0), others_took: true }, at(100_000), at(0));
    assert_eq!((lease.needed(1, at(0), small), lease.ahead(at(0), small)), (Some(1), None));
    assert_eq!((lease.needed(1, at(0), SMALL), lease.ahead(at(0), SMALL)), (Some(8), Some(8)));
    lease.record_full(SMALL - 1);
    assert_eq!(lease.needed(1, at(0), small), Some(1), "hardly more remains");
    lease.record_full(SMALL);
    assert_eq!((lease.needed(1, at(0), small), lease.ahead(at(0), small)), (Some(7), Some(7)));
}

#[test]
fn reported_verdicts_age() {
    let mut lease = lease(Algorithm::FixedWindow);
    let verdict = Verdict { remaining: 700, reset_after: at(5_000), ..Verdict::default() };
    lease.record_verdict(&verdict, at(1_000_000), at(10));
    lease.deposit(batch(1, 10, 5_000));
    let receipt = lease.spend(1);
    let (verdict, by) = lease.verdict(receipt, at(110));
    assert!(verdict.allowed && verdict.receipt == receipt);
    assert_eq!((verdict.remaining, verdict.reset_after, by), (709, at(4_900), at(1_000_100)));
}
