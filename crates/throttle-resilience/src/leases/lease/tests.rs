//! The arithmetic of a lease.

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
fn permits_are_spent_from_the_oldest_and_not_after_their_time() {
    let mut lease = lease(Algorithm::TokenBucket);
    lease.deposit(batch(1, 3, 100));
    lease.deposit(batch(2, 5, 200));
    assert_eq!((lease.spend(2), lease.left()), (batch(1, 0, 0).receipt, 6));
    assert_eq!(lease.spend(3), batch(1, 0, 0).receipt, "of two, the oldest");
    lease.advance(at(199));
    assert_eq!((lease.left(), lease.take_returns().len()), (3, 0));
    lease.advance(at(200));
    assert_eq!((lease.left(), lease.take_returns()[0].left), (0, 3));
    assert_eq!(lease.held(), 3, "until they are given back");
    lease.returned(3);
    assert!(lease.is_empty());
}

#[test]
fn permits_of_two_windows_are_spent_one_after_the_other() {
    let mut lease = lease(Algorithm::FixedWindow);
    lease.deposit(batch(1, 3, 100));
    lease.deposit(batch(2, 5, 200));
    lease.spend(3);
    assert_eq!((lease.spend(4), lease.left()), (batch(2, 0, 0).receipt, 1));
}

#[test]
fn batches_of_one_window_are_one() {
    let mut lease = lease(Algorithm::FixedWindow);
    lease.deposit(batch(1, 3, 100));
    lease.deposit(batch(1, 5, 90));
    assert_eq!(lease.batches[..], [batch(1, 8, 100)]);
    lease.spend(8);
    assert!(lease.put_back(batch(1, 0, 0).receipt, 8, 100), "its window lives");
    assert_eq!(lease.left(), 8);
}

#[test]
fn no_more_is_put_back_than_was_spent_and_than_may_be_held() {
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindowLog] {
        let mut lease = lease(algorithm);
        lease.deposit(batch(1, 10, 100));
        let receipt = lease.spend(3);
        assert!(!lease.put_back(receipt, 4, 100), "more than was spent");
        assert!(!lease.put_back(receipt, 3, 9), "more than may be held");
        assert!(!lease.put_back(Some(Receipt::new(at(2), 0)), 3, 100), "another charge's");
        assert!(!lease.put_back(None, 3, 100));
        assert!(lease.put_back(receipt, 3, 100));
        assert!(!lease.put_back(receipt, 1, 100), "all is there again");
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
fn what_is_held_asked_for_and_lost_is_never_more_than_the_most() {
    let mut lease = lease(Algorithm::FixedWindow);
    for _ in 0..1_000 {
        lease.meet(1, at(10));
    }
    assert_eq!(lease.ahead(at(10), 50), Some(50));
    lease.deposit(batch(1, 20, 1_000_000));
    assert_eq!(lease.ahead(at(10), 50), Some(30));
    lease.lose(25, at(500));
    assert_eq!(lease.ahead(at(10), 50), Some(5));
    assert_eq!(lease.needed(25, at(10), 50), Some(5));
    assert_eq!(lease.needed(26, at(10), 50), None, "so much is not held");
    lease.ask(5, Arc::new(Gate::new()));
    assert_eq!((lease.held(), lease.ahead(at(10), 50)), (50, None));
    lease.answered();
    lease.advance(at(500));
    assert_eq!(lease.held(), 20, "what is lost is over when it no longer counts");
    lease.rest(at(500));
    assert_eq!(lease.needed(26, at(501), 50), None, "it rests");
}

#[test]
fn what_is_in_stock_follows_the_rate() {
    let mut lease = lease(Algorithm::FixedWindow);
    lease.deposit(batch(1, 100, 10_000_000));
    for n in 0..400 {
        lease.meet(1, at(n * 1_000)); // 1,000 a second, a quarter of which lasts a quarter second
    }
    assert!((225..=260).contains(&lease.wanted(at(400_000), 1_000)));
    assert!(!lease.is_cold(at(400_000)));
    lease.trim(at(400_000), 1_000);
    assert!(lease.take_returns().is_empty());
    // Then nothing for a second.
    assert!(lease.is_cold(at(1_400_000)));
    lease.trim(at(1_400_000), 1_000);
    assert_eq!(lease.left() + lease.take_returns()[0].left, 100);
    assert!(lease.left() < 50, "{}", lease.left());
}

#[test]
fn what_the_storage_has_not_got_is_refused_until_half_of_a_batch_could_be_there() {
    let mut lease = lease(Algorithm::TokenBucket);
    lease.deposit(batch(1, 2, 1_000_000));
    let verdict = Verdict { remaining: 3, reset_after: at(900_000), ..Verdict::default() };
    lease.hear(&verdict, at(7), at(10));
    lease.refuse(4, at(40_000), at(5));
    assert!(lease.refusal(5, at(10)).is_none(), "3 more, the storage has got them");
    let (told, _) = lease.refusal(6, at(10_005)).unwrap();
    assert!(!told.allowed && told.receipt.is_none());
    assert_eq!((told.remaining, told.retry_after), (5, Some(at(10_000))));
    assert_eq!(lease.needed(6, at(10_005), 50), None, "nothing is asked for meanwhile");
    assert!(lease.refusal(6, at(20_005)).is_none());
    assert!(lease.needed(6, at(20_005), 50).is_some(), "then it is");

    lease.refuse(1, at(3_000), at(30_000));
    assert!(lease.refusal(9, at(32_999)).is_some() && lease.refusal(9, at(33_000)).is_none());
    lease.refuse(1, at(60_000_000), at(40_000));
    assert!(lease.refusal(9, at(539_999)).is_some() && lease.refusal(9, at(540_000)).is_none());
    lease.deposit(batch(2, 1, 1_000_000));
    assert!(lease.refusal(9, at(40_001)).is_none(), "a batch has come");
    lease.refuse(1, at(60_000_000), at(40_000));
    lease.advance(at(40_001));
    lease.advance(at(40_000));
    assert!(lease.refusal(9, at(40_000)).is_none(), "the clock stepped back");
}

#[test]
fn where_others_take_what_comes_back_waits_double_until_half_of_what_all_may_hold_comes_back() {
    let waited = |lease: &mut Lease, others_took| {
        lease.came_short(1, Short { whole: at(2_000), others_took }, at(100_000), at(0));
        lease.rest_until.get()
    };
    // All may hold 90 of a bucket (10 % of what is not its reserve) and 100 of a counter.
    for (algorithm, most) in
        [(Algorithm::TokenBucket, 45_000), (Algorithm::SlidingWindowCounter, 50_000)]
    {
        let mut lease = lease(algorithm);
        let waits: Vec<_> = (0..7).map(|_| waited(&mut lease, true)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, most], "{algorithm}");
        lease.refuse(1, at(2_000), at(0));
        assert_eq!(lease.rest_until, at(most));
        (0..100).for_each(|_| assert!(waited(&mut lease, true) <= most));
        assert_eq!(waited(&mut lease, true), most);
        (0..MOST_CROWD).for_each(|_| lease.came_whole(8));
        assert_eq!(waited(&mut lease, false), 1_000, "nobody takes it any more");
        waited(&mut lease, true);
        waited(&mut lease, true);
        assert_eq!([waited(&mut lease, false), waited(&mut lease, false)], [4_000, 2_000]);
    }
    // What comes back at once is there when it is said to be.
    for algorithm in [Algorithm::FixedWindow, Algorithm::SlidingWindowLog] {
        let mut lease = lease(algorithm);
        let waits: Vec<_> = (0..3).map(|_| waited(&mut lease, true)).collect();
        assert_eq!(waits, [1_000; 3], "{algorithm}");
    }
}

#[test]
fn of_a_small_batch_no_more_is_asked_for_than_is_needed_while_others_take_what_comes_back() {
    let mut lease = lease(Algorithm::TokenBucket);
    (0..50).for_each(|_| lease.meet(1, at(0)));
    let small = SMALL - 1;
    assert_eq!((lease.needed(1, at(0), small), lease.ahead(at(0), small)), (Some(7), Some(7)));
    lease.came_short(1, Short { whole: at(0), others_took: true }, at(100_000), at(0));
    assert_eq!((lease.needed(1, at(0), small), lease.ahead(at(0), small)), (Some(1), None));
    assert_eq!((lease.needed(1, at(0), SMALL), lease.ahead(at(0), SMALL)), (Some(8), Some(8)));
    lease.came_whole(SMALL - 1);
    assert_eq!(lease.needed(1, at(0), small), Some(1), "there is hardly more");
    lease.came_whole(SMALL);
    assert_eq!((lease.needed(1, at(0), small), lease.ahead(at(0), small)), (Some(7), Some(7)));
}

#[test]
fn what_is_told_ages() {
    let mut lease = lease(Algorithm::FixedWindow);
    let verdict = Verdict { remaining: 700, reset_after: at(5_000), ..Verdict::default() };
    lease.hear(&verdict, at(1_000_000), at(10));
    lease.deposit(batch(1, 10, 5_000));
    let receipt = lease.spend(1);
    let (told, by) = lease.verdict(receipt, at(110));
    assert!(told.allowed && told.receipt == receipt);
    assert_eq!((told.remaining, told.reset_after, by), (709, at(4_900), at(1_000_100)));
}
