//! Waits that react to changes: of rules, resets, refunds, lists.

use std::{sync::Arc, time::Duration};

use throttle_core::{
    Algorithm, AtomicStorage, ChargeRequest, Error, Limiter, ManualClock, Reply, Rule, Storage,
    Wrapper,
};
use throttle_memory::MemoryStorage;
use tokio::sync::Semaphore;

use crate::{
    MICRO, SECOND, limiter,
    waiting::{Waiter, let_others_run, wait},
};

fn leaky(limit: u64, burst: u64) -> Rule {
    Rule::per_second("out", limit).algorithm(Algorithm::LeakyBucket).burst(burst)
}

/// Uses up the limit of a rule.
async fn exhaust(limiter: &Limiter) {
    while limiter.check("k", "out").await.unwrap().is_allowed() {}
}

/// Starts waits, one after the other.
async fn waits(limiter: &Limiter, number: usize) -> Vec<Waiter> {
    let mut all = Vec::new();
    for _ in 0..number {
        all.push(wait(limiter, "k").await);
    }
    all
}

fn done(waiters: &[Waiter]) -> usize {
    waiters.iter().filter(|one| one.is_finished()).count()
}

/// Asserts that after each span exactly one more wait ends, and not earlier.
async fn end_one_by_one(waiters: &[Waiter], clock: &ManualClock, spans: &[Duration]) {
    for span in spans {
        let before = done(waiters);
        clock.advance(*span - MICRO);
        let_others_run().await;
        assert_eq!(done(waiters), before, "a microsecond before {span:?}");
        clock.advance(MICRO);
        let_others_run().await;
        assert_eq!(done(waiters), before + 1, "after {span:?}");
    }
}

#[tokio::test]
async fn a_reset_ends_as_many_waits_as_the_rule_allows() {
    for algorithm in Algorithm::ALL {
        let (limiter, clock) = limiter([Rule::per_hour("out", 2).algorithm(algorithm)]);
        clock.advance(SECOND);
        exhaust(&limiter).await;
        let waiters = waits(&limiter, 5).await;
        assert_eq!(done(&waiters), 0);
        limiter.reset("other", "out").await.unwrap();
        let_others_run().await;
        assert_eq!(done(&waiters), 0, "another key was reset");
        limiter.reset("k", "out").await.unwrap();
        let_others_run().await;
        let leaky = algorithm == Algorithm::LeakyBucket; // the second has a later scheduled time
        assert_eq!(done(&waiters), if leaky { 1 } else { 2 }, "{algorithm}");
    }
}

#[tokio::test]
async fn a_replaced_rule_ends_as_many_waits_as_it_allows() {
    for algorithm in Algorithm::ALL {
        let rule = |limit| Rule::per_hour("out", limit).algorithm(algorithm);
        let (limiter, clock) = limiter([rule(2), Rule::per_hour("other", 2)]);
        clock.advance(SECOND);
        exhaust(&limiter).await;
        let waiters = waits(&limiter, 5).await;
        limiter.replace_rule(Rule::per_hour("other", 9)).unwrap();
        let_others_run().await;
        assert_eq!(done(&waiters), 0, "another rule was replaced");
        limiter.replace_rule(rule(5)).unwrap();
        let_others_run().await;
        // The larger limit allows three more. A queue only reschedules its requests.
        let expected = if algorithm == Algorithm::LeakyBucket { 0 } else { 3 };
        assert_eq!(done(&waiters), expected, "{algorithm}");
    }
}

#[tokio::test]
async fn a_removed_rule_ends_all_waits() {
    let removals: [fn(&Limiter); 2] =
        [|limiter| _ = limiter.remove_rule("out"), |limiter| limiter.set_rules([]).unwrap()];
    for (algorithm, remove) in
        Algorithm::ALL.iter().flat_map(|one| removals.map(|remove| (*one, remove)))
    {
        let (limiter, _) = limiter([Rule::per_hour("out", 2).algorithm(algorithm)]);
        exhaust(&limiter).await;
        let mut waiters = waits(&limiter, 1).await;
        if algorithm == Algorithm::LeakyBucket {
            limiter.refund("k", "out", 1).await.unwrap();
            waiters.extend(waits(&limiter, 1).await); // this one has a scheduled time
        }
        remove(&limiter);
        let_others_run().await;
        for waiter in waiters {
            assert!(waiter.is_finished(), "{algorithm}");
            assert!(matches!(waiter.await.unwrap(), Err(Error::NoRules)));
        }
    }
}

#[tokio::test]
async fn removing_an_unknown_rule_changes_nothing() {
    let (limiter, _) = limiter([leaky(1, 1)]);
    let before = limiter.change_count();
    assert!(!limiter.remove_rule("unknown"));
    assert_eq!(limiter.change_count(), before);
    assert!(limiter.remove_rule("out"));
    assert_ne!(limiter.change_count(), before);
}

#[tokio::test]
async fn changes_by_other_limiters_take_effect_within_a_second() {
    async fn reset(limiter: &Limiter) {
        limiter.reset("k", "out").await.unwrap();
    }
    async fn refund(limiter: &Limiter) {
        limiter.refund("k", "out", 1).await.unwrap();
    }
    for algorithm in Algorithm::ALL {
        for is_reset in [true, false] {
            let (storage, clock) = (MemoryStorage::new(), ManualClock::default());
            let [one, other] = [(); 2].map(|()| {
                let limiter = Limiter::builder(storage.clone()).clock(clock.clone()).build();
                limiter.add_rule(Rule::per_hour("out", 2).algorithm(algorithm)).unwrap();
                limiter
            });
            exhaust(&one).await;
            let waiters = waits(&one, 1).await;
            match is_reset {
                true => reset(&other).await,
                false => refund(&other).await,
            }
            clock.advance(SECOND);
            let_others_run().await;
            // After a refund the request is queued.
            let queued = algorithm == Algorithm::LeakyBucket && !is_reset;
            assert_eq!(done(&waiters), usize::from(!queued), "{algorithm}");
            assert!(!one.check("k", "out").await.unwrap().is_allowed() || is_reset);
        }
    }
}

#[tokio::test]
async fn a_key_removed_from_the_deny_list_is_allowed_within_a_second() {
    let (limiter, clock) = limiter([leaky(1, 5)]);
    limiter.deny_list().add_for("k", 3_600 * SECOND).unwrap();
    let waiter = waits(&limiter, 1).await;
    limiter.deny_list().remove("k").unwrap();
    clock.advance(SECOND);
    let_others_run().await;
    assert_eq!(done(&waiter), 1);
}

#[tokio::test]
async fn a_queue_adopts_a_replaced_rule_and_keeps_its_order() {
    // The rate changes by the limit or by the window, to faster and to slower.
    let faster = [leaky(10, 9), Rule::new("out", 1, SECOND / 10)];
    let slower = [leaky(1, 9), Rule::new("out", 1, SECOND)];
    for (before, after, is_faster) in [(&slower, &faster, true), (&faster, &slower, false)] {
        for (before, after) in before.iter().flat_map(|one| after.iter().map(move |two| (one, two)))
        {
            let queue = |rule: &Rule| rule.clone().algorithm(Algorithm::LeakyBucket).burst(9);
            let (limiter, clock) = limiter([queue(before)]);
            assert!(limiter.check("k", "out").await.unwrap().is_allowed());
            let waiters = waits(&limiter, 3).await;
            let (half, between) = match is_faster {
                true => (SECOND / 2, SECOND / 10),
                false => (SECOND / 20, SECOND),
            };
            clock.advance(half);
            limiter.replace_rule(queue(after)).unwrap();
            let_others_run().await;
            let new = waits(&limiter, 1).await;
            // With the faster rule, the scheduled time of the first is already past.
            assert_eq!(done(&waiters), usize::from(is_faster));
            let spans = [between / 2, between, between];
            end_one_by_one(&waiters, &clock, &spans[usize::from(is_faster)..]).await;
            assert_eq!(done(&new), 0, "the last request must stay the last");
            clock.advance(between - MICRO);
            let_others_run().await;
            assert_eq!(done(&new), 0, "two requests must not be sent at the same time");
            clock.advance(between);
            let_others_run().await;
            assert_eq!(done(&new), 1);
        }
    }
}

#[tokio::test]
async fn requests_beyond_a_smaller_queue_are_refunded_and_wait_again() {
    let (limiter, clock) = limiter([leaky(10, 9)]);
    let waiters = waits(&limiter, 9).await;
    assert_eq!(done(&waiters), 1);
    limiter.replace_rule(leaky(1, 3)).unwrap();
    let_others_run().await;
    assert_eq!(limiter.peek("k", "out").await.unwrap().remaining(), 0);
    let spans = [SECOND; 8];
    end_one_by_one(&waiters, &clock, &spans).await;
}

#[tokio::test]
async fn a_queue_whose_key_is_reset_restarts_at_the_same_rate() {
    for by_other in [false, true] {
        let (storage, clock) = (MemoryStorage::new(), ManualClock::default());
        let [one, other] = [(); 2].map(|()| {
            let limiter = Limiter::builder(storage.clone()).clock(clock.clone()).build();
            limiter.add_rule(leaky(1, 30)).unwrap();
            limiter
        });
        assert_eq!(one.check_cost("k", "out", 20).await.unwrap().remaining(), 10);
        let waiters = waits(&one, 4).await;
        clock.advance(SECOND / 2);
        let_others_run().await;
        let resetting = if by_other { &other } else { &one };
        resetting.reset("k", "out").await.unwrap();
        let_others_run().await;
        if by_other {
            assert_eq!(done(&waiters), 0);
            clock.advance(SECOND / 2); // waits check for changes once per second
            let_others_run().await;
        }
        assert_eq!(done(&waiters), 1);
        assert_eq!(one.peek("k", "out").await.unwrap().remaining(), 26, "nothing is charged twice");
        end_one_by_one(&waiters, &clock, &[SECOND; 3]).await;
    }
}

/// A memory storage that delays its replies to resets, and executes the resets before or after the delay.
#[derive(Clone)]
struct SlowResets {
    inner: Arc<dyn AtomicStorage>,
    is_first: bool,
    gate: Arc<Semaphore>,
}

impl Wrapper for SlowResets {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
        let (this, owned) = (self.clone(), request.to_owned());
        let is_done = self.is_first && self.inner.reset(request).into_ready().is_ok();
        Reply::pending(async move {
            drop(this.gate.acquire().await);
            if is_done { Ok(true) } else { owned.with(|request| this.inner.reset(request)).await }
        })
    }
}

#[tokio::test]
async fn a_request_during_a_reset_of_its_key_is_charged_once() {
    for is_first in [true, false] {
        let (gate, clock) = (Arc::new(Semaphore::new(0)), ManualClock::default());
        let inner = Arc::new(MemoryStorage::new()).atomic();
        let storage = SlowResets { inner, is_first, gate: Arc::clone(&gate) };
        let limiter = Limiter::builder(storage).clock(clock.clone()).build();
        limiter.add_rule(leaky(1, 30)).unwrap();
        limiter.check_cost("k", "out", 5).await.unwrap();
        let mut waiters = waits(&limiter, 1).await; // before the reset
        let resetting = limiter.clone();
        let reset = tokio::spawn(async move { resetting.reset("k", "out").await });
        let_others_run().await;
        waiters.extend(waits(&limiter, 3).await);
        gate.close();
        let_others_run().await;
        assert!(reset.is_finished());
        let left = limiter.peek("k", "out").await.unwrap().remaining();
        assert_eq!(left, 26, "four requests must be charged once each");
        let ended = done(&waiters);
        end_one_by_one(&waiters, &clock, &vec![SECOND; 4 - ended]).await;
    }
}

#[tokio::test]
async fn waits_in_a_queue_adopt_a_rule_of_another_algorithm() {
    let (limiter, clock) = limiter([leaky(1, 9)]);
    let waiters = waits(&limiter, 4).await;
    limiter
        .replace_rule(Rule::per_second("out", 2).algorithm(Algorithm::SlidingWindowLog))
        .unwrap();
    let_others_run().await;
    assert_eq!(done(&waiters), 3, "the first, and two that the log allows");
    end_one_by_one(&waiters, &clock, &[SECOND]).await;
}

#[tokio::test]
async fn many_waits_with_many_changes_never_exceed_the_rules() {
    let (limiter, clock) = limiter([leaky(1, 50)]);
    let waiters = waits(&limiter, 30).await;
    let mut ended = done(&waiters);
    for round in 0..600 {
        match round % 4 {
            0 => drop(limiter.replace_rule(leaky(1 + round % 3, 50)).unwrap()),
            1 => drop(limiter.replace_rule(leaky(1, 50 - round % 50)).unwrap()),
            _ => {}
        }
        clock.advance(SECOND / 10);
        let_others_run().await;
        let now = done(&waiters);
        assert!(now <= ended + 1, "{} waits ended at the same time", now - ended);
        ended = now;
    }
    assert_eq!(ended, 30);
}
