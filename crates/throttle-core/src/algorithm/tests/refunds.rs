//! Charges of buckets that are given back: what others were charged stays, and turns stay turns.

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
    /// When its turn is.
    turn: u64,
    receipt: Receipt,
    left: bool,
}

/// A bucket, and all that it ever let in.
struct History {
    run: Run,
    charges: Vec<Charge>,
}

impl History {
    fn new(rule: &CheckedRule) -> Self {
        Self { run: Run::new(rule, YEAR_2026), charges: Vec::new() }
    }

    fn charge(&mut self, cost: u64) -> bool {
        let verdict = self.run.ask(cost);
        if let Some(receipt) = verdict.receipt {
            let (at, turn) = (self.run.now, self.run.now + verdict.delay.get());
            self.charges.push(Charge { at, cost, turn, receipt, left: false });
        }
        verdict.allowed
    }

    fn leave(&mut self, number: usize) {
        let charge = &mut self.charges[number];
        if !std::mem::replace(&mut charge.left, true) {
            let (cost, receipt) = (charge.cost, charge.receipt);
            self.run.refund(cost, Some(receipt));
        }
    }

    /// Returns what is taken, in tokens × W.
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

    /// Returns what would be taken had only those come that did not leave.
    fn of_those_that_stayed(&self) -> u128 {
        let (limit, window) = (self.run.rule.limit(), self.run.rule.window().get());
        let (mut backlog, mut last) = (0_u128, 0);
        for charge in self.charges.iter().filter(|charge| !charge.left) {
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
fn one_of_many_that_are_settled_late_takes_nothing_from_a_later_one() {
    let mut history = History::new(&bucket(Algorithm::TokenBucket, 10, 1_000));
    (0..10).for_each(|_| assert!(history.charge(100)));
    for i in 0..9 {
        let receipt = history.charges[i].receipt;
        history.run.refund(50, Some(receipt));
    }
    history.run.now += 60 * SECOND;
    assert!(history.charge(1_000), "all has drained");
    history.leave(9);
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 0);
}

#[test]
fn receipts_of_what_moved_far_name_nothing_that_came_later() {
    let mut history = History::new(&bucket(Algorithm::TokenBucket, 10, 10));
    let mut kept = Vec::new();
    for _ in 0..10 {
        let first = history.charges.len();
        while history.charge(1) {}
        let last = history.charges.len() - 1;
        (first..last).for_each(|i| history.leave(i));
        kept.push(last);
    }
    for second in [1, 2] {
        history.run.now = YEAR_2026 + second * SECOND;
        history.backlog();
    }
    assert!(history.charge(10), "all has drained");
    kept.into_iter().for_each(|i| history.leave(i));
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 0);
}

#[test]
fn after_the_clock_stepped_back_refunds_are_whole_again() {
    let mut history = History::new(&bucket(Algorithm::TokenBucket, 1, 100));
    (0..3).for_each(|_| assert!(history.charge(5)));
    history.leave(0);
    history.run.now += 20 * SECOND;
    history.backlog();
    history.run.now -= 3_000 * SECOND;
    assert!(history.charge(10) && history.charge(50));
    history.run.now += 20 * SECOND;
    history.leave(4);
    assert_eq!(history.backlog(), 0);
}

#[test]
fn a_turn_that_is_free_when_a_lowered_burst_has_room_again_is_told() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 1, 10));
    (0..10).for_each(|_| assert!(history.charge(1)));
    history.leave(7);
    history.run.rule = std::sync::Arc::new(bucket(Algorithm::LeakyBucket, 1, 6));
    let denied = history.run.peek_at(history.run.now, 1);
    let wait = denied.retry_after.unwrap().get();
    assert_eq!(wait, 4 * SECOND);
    assert!(!history.run.peek_at(history.run.now + wait - 1, 1).allowed);
    assert!(history.run.peek_at(history.run.now + wait, 1).allowed);
}

#[test]
fn charges_of_one_moment_all_come_back_whatever_the_order() {
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 1, 3], [1, 3, 0, 2], [2, 1, 3, 0]] {
        let mut history = History::new(&bucket(Algorithm::TokenBucket, 1, 5));
        (0..4).for_each(|_| assert!(history.charge(1)));
        order.into_iter().for_each(|i| history.leave(i));
        assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 5, "{order:?}");
    }
}

#[test]
fn who_leaves_a_queue_frees_its_place_and_its_turn() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 1, 3));
    (0..3).for_each(|_| assert!(history.charge(1)));
    assert!(!history.charge(1));
    history.leave(1);
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 1);
    assert!(!history.charge(2), "it is one place");
    assert!(history.charge(1));
    assert_eq!(history.charges[3].turn, history.charges[1].turn, "the third has been told its own");
    assert!(!history.charge(1));
    history.leave(2);
    history.leave(3);
    let verdict = history.run.peek_at(history.run.now, 1);
    assert_eq!((verdict.remaining, verdict.reset_after.get()), (2, SECOND), "the queue is shorter");
}

#[test]
fn a_turn_that_is_left_over_goes_to_whom_it_suffices() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 1, 10));
    for cost in [3, 4, 3] {
        assert!(history.charge(cost));
    }
    let begin = history.run.now;
    history.leave(1);
    history.run.now += 5 * SECOND;
    let told = history.run.peek_at(history.run.now, 1);
    assert_eq!(told.remaining, 5, "of the slot two seconds are left, and five behind the last");
    assert!(history.charge(1) && history.charge(3) && history.charge(1));
    let turns: Vec<_> =
        history.charges[3..].iter().map(|one| (one.turn - begin) / SECOND).collect();
    assert_eq!(turns, [5, 10, 6], "who does not fit stands at the end");
}

#[test]
fn what_remains_beside_a_freed_slot_is_what_one_request_may_cost() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 1, 10));
    assert!(history.charge(5) && history.charge(2));
    history.leave(0);
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 5);
    assert!(!history.run.peek_at(history.run.now, 6).allowed);
    assert!(history.charge(5), "into the slot");
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 3);
    assert!(history.charge(3), "at the end");
}

#[test]
fn turns_of_more_who_left_than_are_remembered_pass_unused() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 1, 100));
    (0..100).for_each(|_| assert!(history.charge(1)));
    (1..100).step_by(2).take(MAX_SLOTS + 5).for_each(|i| history.leave(i));
    let passed = history.run.ask_until_denied();
    assert_eq!(passed, MAX_SLOTS as u64);
}

#[test]
fn a_queue_of_which_all_leave_but_the_last_has_one_turn_a_moment() {
    let mut history = History::new(&bucket(Algorithm::LeakyBucket, 20, 40));
    for _ in 0..40 {
        let before = history.charges.len();
        while history.charge(1) {}
        let last = history.charges.len().max(1) - 1;
        (before..last).for_each(|i| history.leave(i));
    }
    let mut stayed: Vec<_> = history.charges.iter().filter(|charge| !charge.left).collect();
    stayed.sort_by_key(|charge| charge.turn);
    assert_eq!(stayed.len(), 40);
    for two in stayed.windows(2) {
        assert!(two[1].turn - two[0].turn >= SECOND / 20, "{} {}", two[0].turn, two[1].turn);
    }
}

#[test]
fn what_moved_is_forgotten_when_no_receipt_can_name_it() {
    let rule = bucket(Algorithm::TokenBucket, 1, 10);
    let mut history = History::new(&rule);
    (0..4).for_each(|_| assert!(history.charge(1)));
    history.leave(1);
    assert_eq!(
        history.run.lifetime().get(),
        13 * SECOND,
        "three to drain, ten that a receipt may say"
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
fn what_moved_is_told_in_the_unit_of_a_window_that_was_replaced() {
    let (minute, second) = (
        rule_of(Algorithm::TokenBucket, 10, 60 * SECOND),
        rule_of(Algorithm::TokenBucket, 10, SECOND),
    );
    let mut history = History::new(&minute);
    (0..10).for_each(|_| assert!(history.charge(1)));
    (0..5).for_each(|i| history.leave(i));
    for rule in [&second, &minute] {
        history.run.rule = std::sync::Arc::new(rule.clone()); // as where servers disagree
        history.backlog();
    }
    history.run.now += 30 * SECOND;
    assert!(history.charge(10), "all has drained");
    history.leave(9);
    assert_eq!(history.run.peek_at(history.run.now, 1).remaining, 0);
}

/// Steps of a history: let time pass, charge, give back one of those before.
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
            history.leave(number);
        }
        check(&mut history);
    }
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn no_refund_takes_from_what_others_were_charged(
        limit in 1..5_u64, burst in 4..12_u64, steps in steps()
    ) {
        for algorithm in [Algorithm::TokenBucket, Algorithm::LeakyBucket] {
            play(&bucket(algorithm, limit, burst), &steps, |history| {
                let (taken, least) = (history.backlog(), history.of_those_that_stayed());
                assert!(taken >= least, "{algorithm}: {taken} of {least}");
            });
        }
    }

    #[test]
    fn what_remains_is_allowed_at_once_and_one_more_is_not(
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
                // Of requests that wait for turns one may cost more than as many requests of cost 1.
                if rule.max_delay().is_none() {
                    assert!(!history.run.peek_at(now, remaining + 1).allowed, "{algorithm}: {remaining}");
                }
            });
        }
    }

    #[test]
    fn turns_that_are_kept_are_apart_by_what_each_costs(
        limit in 1..5_u64, burst in 4..12_u64, steps in steps()
    ) {
        let mut stayed = Vec::new();
        play(&bucket(Algorithm::LeakyBucket, limit, burst), &steps, |history| {
            let stays = |charge: &&Charge| !charge.left;
            stayed = history.charges.iter().filter(stays).map(|charge| (charge.turn, charge.cost)).collect();
        });
        stayed.sort_unstable();
        for two in stayed.windows(2) {
            let (before, cost) = two[0];
            prop_assert!(two[1].0 + 1 >= before + cost * SECOND / limit, "{:?} at {}", two, limit);
        }
    }
}
