//! Refunds of buckets: they change neither the charges nor the scheduled times of other requests.

use proptest::prelude::*;

use super::{
    super::{bucket::Refunded, freed_slots::MAX_SLOTS, state::Usage},
    Run, YEAR_2026,
    histories::config,
    rule_of,
};
use crate::{Algorithm, CheckedRule, MIN_WINDOW, Receipt, Rule, exact::product};

const SECOND: u64 = 1_000_000;

struct Charge {
    at: u64,
    cost: u64,
    /// The scheduled time.
    scheduled: u64,
    receipt: Receipt,
    refunded: bool,
}

/// A bucket, and all its charges.
struct History {
    run: Run,
    charges: Vec<Charge>,
}

impl History {
    fn new(rule: &CheckedRule) -> Self {
        Self { run: Run::new(rule, YEAR_2026), charges: Vec::new() }
    }

    fn charge(&mut self, cost: u64) -> bool {
        let verdict = self.run.acquire(cost);
        if let Some(receipt) = verdict.receipt {
            let (at, scheduled) = (self.run.now, self.run.now + verdict.delay.get());
            self.charges.push(Charge { at, cost, scheduled, receipt, refunded: false });
        }
        verdict.allowed
    }

    fn refund(&mut self, number: usize) {
        let charge = &mut self.charges[number];
        if !std::mem::replace(&mut charge.refunded, true) {
            let (cost, receipt) = (charge.cost, charge.receipt);
            self.run.refund(cost, Some(receipt));
        }
    }

    /// Returns the backlog without freed slots, in tokens × W.
    fn backlog(&mut self) -> u128 {
        let rule = self.run.rule.clone();
        self.run.state.advance(&rule, crate::Micros::new(self.run.now));
        match &self.run.state.usage {
            Usage::Bucket(bucket) => match bucket.refunded.as_deref() {
                Some(Refunded::FreedSlots(slots)) => bucket.backlog.get() - slots.sum(),
                _ => bucket.backlog.get(),
            },
            _ => 0,
        }
    }

    /// Returns the backlog as if the refunded requests had never been made.
    fn backlog_without_refunds(&self) -> u128 {
        let (limit, window) = (self.run.rule.limit(), self.run.rule.window().get());
        let (mut backlog, mut last) = (0_u128, 0);
        for charge in self.charges.iter().filter(|charge| !charge.refunded) {
            backlog = backlog.saturating_sub(product(charge.at - last, limit));
            backlog += product(charge.cost, window);
            last = charge.at;
        }
        backlog.saturating_sub(product(self.run.now - last, limit))
    }
}

fn bucket(algorithm: Algorithm, limit: u64, burst: u64) -> CheckedRule {
    Rule::per_second("r", limit).algorithm(algorithm).burst(burst).check().unwrap()
}

#[test]
fn a_late_refund_after_partial_refunds_does_not_reduce_a_later_charge() {
    let mut history = History::new(&bucket(Algorithm::TokenBucket, 10, 1_000));
    (0..10).for_each(|_| assert!(history.charge(100)));
    for i in 0..9 {
        let receipt = history.charges[i].receipt;
        history.run.refund(50, Some(receipt));
    }
    history.run.now += 60 * SECOND;
    assert!(history.charge(1_000), "all has drained");
    history.refund(9);
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 0);
}

#[test]
fn a_late_refund_after_many_refunds_does_not_reduce_a_later_charge() {
    let mut history = History::new(&bucket(Algorithm::TokenBucket, 10, 10));
    let mut kept = Vec::new();
    for _ in 0..10 {
        let first = history.charges.len();
        while history.charge(1) {}
        let last = history.charges.len() - 1;
        (first..last).for_each(|i| history.refund(i));
        kept.push(last);
    }
    for second in [1, 2] {
        history.run.now = YEAR_2026 + second * SECOND;
        history.backlog();
    }
    assert!(history.charge(10), "all has drained");
    kept.into_iter().for_each(|i| history.refund(i));
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 0);
}

#[test]
fn refunds_are_complete_after_the_clock_stepped_back() {
    let mut history = History::new(&bucket(Algorithm::TokenBucket, 1, 100));
    (0..3).for_each(|_| assert!(history.charge(5)));
    history.refund(0);
    history.run.now += 20 * SECOND;
    history.backlog();
    history.run.now -= 3_000 * SECOND;
    assert!(history.charge(10) && history.charge(50));
    history.run.now += 20 * SECOND;
    history.refund(4);
    assert_eq!(history.backlog(), 0);
}

#[test]
fn a_freed_slot_is_used_once_the_backlog_is_within_a_lowered_burst() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 1, 10));
    (0..10).for_each(|_| assert!(history.charge(1)));
    history.refund(7);
    history.run.rule = std::sync::Arc::new(bucket(Algorithm::LeakyBucket, 1, 6));
    let denied = history.run.peek_at(history.run.now, 1);
    let wait = denied.retry_after.unwrap().get();
    assert_eq!(wait, 4 * SECOND);
    assert!(!history.run.peek_at(history.run.now + wait - 1, 1).allowed);
    assert!(history.run.peek_at(history.run.now + wait, 1).allowed);
}

#[test]
fn charges_of_one_moment_are_refunded_completely_in_any_order() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 1, 3], [1, 3, 0, 2], [2, 1, 3, 0]] {
        let mut history = History::new(&bucket(Algorithm::TokenBucket, 1, 5));
        (0..4).for_each(|_| assert!(history.charge(1)));
        order.into_iter().for_each(|i| history.refund(i));
        assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 5, "{order:?}");
    }
}

#[test]
fn a_refund_frees_a_slot_in_the_queue_and_its_scheduled_time() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 1, 3));
    (0..3).for_each(|_| assert!(history.charge(1)));
    assert!(!history.charge(1));
    history.refund(1);
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 1);
    assert!(!history.charge(2), "the slot has room for one");
    assert!(history.charge(1));
    assert_eq!(
        history.charges[3].scheduled, history.charges[1].scheduled,
        "the third has been peeked its own"
    );
    assert!(!history.charge(1));
    history.refund(2);
    history.refund(3);
    let verdict = history.run.peek_at(history.run.now, 1);
    assert_eq!((verdict.remaining, verdict.reset_after.get()), (2, SECOND), "the queue is shorter");
}

#[test]
fn a_freed_slot_goes_to_the_next_request_that_fits() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 1, 10));
    for cost in [3, 4, 3] {
        assert!(history.charge(cost));
    }
    let begin = history.run.now;
    history.refund(1);
    history.run.now += 5 * SECOND;
    let peeked = history.run.peek_at(history.run.now, 1);
    assert_eq!(peeked.remaining, 5, "two seconds of the slot are left, and five at the end");
    assert!(history.charge(1) && history.charge(3) && history.charge(1));
    let scheduled: Vec<_> =
        history.charges[3..].iter().map(|one| (one.scheduled - begin) / SECOND).collect();
    assert_eq!(scheduled, [5, 10, 6], "a request that does not fit is queued at the end");
}

#[test]
fn remaining_with_a_freed_slot_is_the_highest_cost_of_one_request() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 1, 10));
    assert!(history.charge(5) && history.charge(2));
    history.refund(0);
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 5);
    assert!(!history.run.peek_at(history.run.now, 6).allowed);
    assert!(history.charge(5), "in the slot");
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 3);
    assert!(history.charge(3), "at the end");
}

#[test]
fn freed_slots_beyond_the_stored_number_are_not_used() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 1, 100));
    (0..100).for_each(|_| assert!(history.charge(1)));
    (1..100).step_by(2).take(MAX_SLOTS + 5).for_each(|i| history.refund(i));
    let allowed = history.run.acquire_until_denied();
    assert_eq!(allowed, MAX_SLOTS as u64);
}

#[test]
fn a_queue_of_which_all_but_the_last_are_refunded_has_one_request_at_a_time() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 20, 40));
    for _ in 0..40 {
        let before = history.charges.len();
        while history.charge(1) {}
        let last = history.charges.len().max(1) - 1;
        (before..last).for_each(|i| history.refund(i));
    }
    let mut kept_charges: Vec<_> =
        history.charges.iter().filter(|charge| !charge.refunded).collect();
    kept_charges.sort_by_key(|charge| charge.scheduled);
    assert_eq!(kept_charges.len(), 40);
    for two in kept_charges.windows(2) {
        assert!(
            two[1].scheduled - two[0].scheduled >= SECOND / 20,
            "{} {}",
            two[0].scheduled,
            two[1].scheduled
        );
    }
}

#[test]
fn an_offset_is_dropped_when_no_receipt_needs_it() {
    let rule = bucket(Algorithm::TokenBucket, 1, 10);
    let mut history = History::new(&rule);
    (0..4).for_each(|_| assert!(history.charge(1)));
    history.refund(1);
    assert_eq!(
        history.run.lifetime().get(),
        13 * SECOND,
        "three to drain, and ten for which receipts are valid"
    );
    assert_eq!(history.run.peek_at(history.run.now, 1).reset_after.get(), 3 * SECOND);
    history.run.now += 4 * SECOND;
    assert_eq!(history.backlog(), 0);
    assert_eq!(history.run.lifetime().get(), 10 * SECOND);
    history.run.now += 10 * SECOND;
    history.backlog();
    assert_eq!(history.run.lifetime().get(), 0);
}

#[test]
fn an_offset_is_rescaled_when_the_window_is_replaced() {
    let (minute, second) = (
        rule_of(Algorithm::TokenBucket, 10, 60 * SECOND),
        rule_of(Algorithm::TokenBucket, 10, SECOND),
    );
    let mut history = History::new(&minute);
    (0..10).for_each(|_| assert!(history.charge(1)));
    (0..5).for_each(|i| history.refund(i));
    for rule in [&second, &minute] {
        history.run.rule = std::sync::Arc::new(rule.clone()); // as if servers had different rules
        history.backlog();
    }
    history.run.now += 30 * SECOND;
    assert!(history.charge(10), "all has drained");
    history.refund(9);
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 0);
}

/// Steps of a history: wait, then charge, or refund an earlier charge.
fn steps() -> impl Strategy<Value = Vec<(u64, u64, usize)>> {
    let wait = prop_oneof![4 => Just(0), 3 => 0..SECOND, 1 => 0..20 * SECOND];
    prop::collection::vec((wait, 1..8_u64, 0..12_usize), 1..120)
}

fn play(rule: &CheckedRule, steps: &[(u64, u64, usize)], mut check: impl FnMut(&mut History)) {
    let mut history = History::new(rule);
    for &(wait, cost, back) in steps {
        history.run.now += wait;
        if cost > 4 {
            history.charge(cost - 4);
        } else if let Some(number) = history.charges.len().checked_sub(back + 1) {
            history.refund(number);
        }
        check(&mut history);
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn a_refund_reduces_no_other_charge(
        limit in 1..5_u64, burst in 4..12_u64, steps in steps()
    ) {
        for algorithm in [Algorithm::TokenBucket, Algorithm::LeakyBucket] {
            play(&bucket(algorithm, limit, burst), &steps, |history| {
                let (taken, least) = (history.backlog(), history.backlog_without_refunds());
                assert!(taken >= least, "{algorithm}: {taken} of {least}");
            });
        }
    }

    #[test]
    fn exactly_what_remains_is_allowed_at_once_after_refunds(
        limit in 1..5_u64, burst in 4..12_u64, steps in steps(), longest in any::<Option<u16>>()
    ) {
        for algorithm in Algorithm::ALL {
            let is_bucket = matches!(algorithm, Algorithm::TokenBucket | Algorithm::LeakyBucket);
            let mut rule = if is_bucket { bucket(algorithm, limit, burst) } else { rule_of(algorithm, burst, SECOND) };
            if let Some(longest) = longest {
                rule = rule.with_max_delay(MIN_WINDOW * u32::from(longest));
            }
            play(&rule, &steps, |history| {
                let now = history.run.now;
                let remaining = history.run.peek_at(now, 1).remaining;
                if remaining > 0 {
                    assert!(history.run.peek_at(now, remaining).allowed, "{algorithm}: {remaining}");
                }
                // With a longest delay, a request of a higher cost may still start in time.
                if rule.max_delay().is_none() {
                    assert!(!history.run.peek_at(now, remaining + 1).allowed, "{algorithm}: {remaining}");
                }
            });
        }
    }

    #[test]
    fn scheduled_times_are_at_least_the_drain_time_of_each_cost_apart(
        limit in 1..5_u64, burst in 4..12_u64, steps in steps()
    ) {
        let mut kept_charges = Vec::new();
        play(&bucket(Algorithm::LeakyBucket, limit, burst), &steps, |history| {
            let is_kept = |charge: &&Charge| !charge.refunded;
            kept_charges = history.charges.iter().filter(is_kept).map(|charge| (charge.scheduled, charge.cost)).collect();
        });
        kept_charges.sort_unstable();
        for two in kept_charges.windows(2) {
            let (before, cost) = two[0];
            prop_assert!(two[1].0 + 1 >= before + cost * SECOND / limit, "{:?} at {}", two, limit);
        }
    }
}
