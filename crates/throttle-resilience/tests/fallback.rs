//! Requests that the storage cannot decide: the failure modes of the rules apply.

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{Behaviour, FaultyStorage, count_allowed, fixed, limiter, until};
use throttle_core::{Algorithm, Effect, Error, Limiter, ManualClock, Rule, Storage};
use throttle_memory::MemoryStorage;
use throttle_resilience::{FailureMode, FailureModes, Fallback, FallbackChange};

const SOON: Duration = Duration::from_secs(10);

fn local(servers: u64) -> FailureModes {
    FailureModes::local(MemoryStorage::new(), servers)
}

/// Creates a limiter with one rule on a wrapped storage.
fn of_rule(
    rule: Rule,
    behaviour: Behaviour,
    modes: FailureModes,
) -> (Limiter, FaultyStorage, Fallback) {
    let storage = FaultyStorage::new(behaviour);
    let fallback = Fallback::new(storage.clone(), modes);
    (limiter(fallback.clone(), [rule]), storage, fallback)
}

async fn wait_for_replay(fallback: &Fallback, limiter: &Limiter) {
    until("the deferred charges to be replayed", SOON, || async {
        let _ = limiter.peek("client", "r").await;
        fallback.stats().deferred == 0 && fallback.stats().replayed > 0
    })
    .await;
}

#[tokio::test]
async fn fail_closed_returns_the_storages_error() {
    for modes in [
        FailureModes::fail_closed(),
        FailureModes::fail_open().rule("r", FailureMode::FailClosed),
        FailureModes::default(),
    ] {
        let (limiter, _, fallback) = of_rule(fixed("r", 5), Behaviour::Fails, modes);
        let Error::Storage(error) = limiter.check("k", "r").await.unwrap_err() else { panic!() };
        assert_eq!(error.effect(), Effect::None);
        assert!(error.to_string().contains("it is down"));
        limiter.peek("k", "r").await.unwrap_err();
        assert_eq!(fallback.stats().closed, 2);
    }
}

#[tokio::test]
async fn a_local_rule_without_a_local_storage_fails_closed() {
    let modes = FailureModes::fail_open().rule("r", FailureMode::Local);
    let (limiter, _, _) = of_rule(fixed("r", 5), Behaviour::Fails, modes);
    limiter.check("k", "r").await.unwrap_err();
}

#[tokio::test]
async fn fail_open_allows_and_marks_decisions_as_degraded() {
    let fixed_five = || fixed("r", 5);
    for behaviour in [Behaviour::Fails, Behaviour::LosesAnswers, Behaviour::Corrupt] {
        let (limiter, storage, fallback) =
            of_rule(fixed_five(), behaviour, FailureModes::fail_open());
        for _ in 0..100 {
            let decision = limiter.check("k", "r").await.unwrap();
            assert!(decision.is_allowed() && decision.is_degraded() && decision.is_unlimited());
            assert!(decision.receipt().is_none(), "nothing was charged");
        }
        let never = limiter.check_cost("k", "r", 6).await.unwrap();
        assert!(!never.is_allowed() && never.retry_after().is_none(), "no storage would allow it");
        assert_eq!(fallback.stats().open, 101);
        storage.be(Behaviour::AtOnce);
        let decision = limiter.check("k2", "r").await.unwrap();
        assert!(!decision.is_degraded() && decision.remaining() == 4);
    }
}

#[tokio::test]
async fn local_allows_a_share_of_the_limit_with_every_algorithm() {
    for algorithm in Algorithm::ALL {
        for (limit, servers, share) in [(100, 3, 33), (2, 5, 1), (7, 1, 7), (9, 0, 9)] {
            let rule = Rule::per_day("r", limit).algorithm(algorithm);
            let (limiter, _, fallback) = of_rule(rule, Behaviour::Fails, local(servers));
            let first = limiter.check("k", "r").await.unwrap();
            assert!(first.is_degraded() && !first.is_unlimited() && first.limit() == limit);
            assert_eq!(first.remaining(), share - 1, "{algorithm}");
            assert_eq!(count_allowed(&limiter, "k", "r", 200).await, share - 1, "{algorithm}");
            let denial = limiter.check("k", "r").await.unwrap();
            assert!(denial.is_degraded() && denial.retry_after().is_some());
            assert!(limiter.peek("k", "r").await.unwrap().is_degraded());
            assert_eq!(fallback.stats().local, 203);
        }
    }
}

#[tokio::test]
async fn the_number_of_instances_can_change() {
    let (limiter, _, fallback) = of_rule(fixed("r", 100), Behaviour::Fails, local(10));
    assert_eq!(count_allowed(&limiter, "k", "r", 200).await, 10);
    fallback.set_instances(4);
    assert_eq!(count_allowed(&limiter, "k", "r", 200).await, 15);
    fallback.set_instances(0);
    assert_eq!(count_allowed(&limiter, "k", "r", 200).await, 75);
}

#[tokio::test]
async fn a_cost_above_the_share_can_be_retried_and_one_above_the_limit_cannot() {
    let (limiter, _, _) = of_rule(fixed("r", 100), Behaviour::Fails, local(4));
    let denial = limiter.check_cost("k", "r", 26).await.unwrap();
    assert_eq!((denial.is_allowed(), denial.retry_after()), (false, Some(Duration::from_secs(1))));
    let never = limiter.check_cost("k", "r", 101).await.unwrap();
    assert_eq!((never.is_allowed(), never.retry_after()), (false, None));
}

#[tokio::test]
async fn one_fail_closed_rule_of_several_fails_the_request_and_nothing_is_charged() {
    let storage = FaultyStorage::new(Behaviour::Fails);
    let modes =
        local(1).rule("closed", FailureMode::FailClosed).rule("open", FailureMode::FailOpen);
    let rules = ["closed", "open", "wide", "narrow"].map(|name| fixed(name, 5));
    let limiter = limiter(Fallback::new(storage, modes), rules);
    limiter.replace_rule(fixed("narrow", 2)).unwrap();
    limiter.check_all("k", &["wide", "open", "closed"]).await.unwrap_err();
    assert_eq!(limiter.peek("k", "wide").await.unwrap().remaining(), 5);

    for attempt in 0..4 {
        let decisions = limiter.check_all("k", &["wide", "open", "narrow"]).await.unwrap();
        assert!(decisions.all().iter().all(|one| one.is_degraded()));
        assert_eq!(decisions.is_allowed(), attempt < 2, "all or nothing");
        let allowed: Vec<_> = decisions.all().iter().map(|one| one.is_allowed()).collect();
        assert_eq!(allowed, [true, true, attempt < 2]);
    }
    assert_eq!(limiter.peek("k", "wide").await.unwrap().remaining(), 3);
}

#[tokio::test]
async fn locally_allowed_costs_are_replayed_after_the_outage() {
    for algorithm in Algorithm::ALL {
        let rule = Rule::per_day("r", 100).algorithm(algorithm);
        let (limiter, storage, fallback) = of_rule(rule, Behaviour::Fails, local(2));
        assert_eq!(count_allowed(&limiter, "k", "r", 30).await, 30);
        assert_eq!(limiter.check_cost("l", "r", 7).await.unwrap().remaining(), 43);
        assert_eq!(fallback.stats().deferred, 2);
        storage.be(Behaviour::AtOnce);
        wait_for_replay(&fallback, &limiter).await;
        let left = limiter.peek("k", "r").await.unwrap();
        assert!(!left.is_degraded());
        assert_eq!(left.remaining(), 70, "{algorithm}");
        assert_eq!(limiter.peek("l", "r").await.unwrap().remaining(), 93, "{algorithm}");
        assert_eq!(fallback.stats().replayed, 37);
    }
}

#[tokio::test]
async fn deferred_charges_of_two_algorithms_are_replayed_to_the_state_of_each() {
    let window = |algorithm| Rule::per_day("r", 100).algorithm(algorithm);
    let (log, leaky) = (window(Algorithm::SlidingWindowLog), window(Algorithm::LeakyBucket));
    let (limiter, storage, fallback) = of_rule(log.clone(), Behaviour::Fails, local(1));
    assert_eq!(count_allowed(&limiter, "k", "r", 3).await, 3);
    for rule in [leaky, window(Algorithm::TokenBucket)] {
        limiter.replace_rule(rule).unwrap();
        assert_eq!(count_allowed(&limiter, "k", "r", 10).await, 10);
    }
    assert_eq!(fallback.stats().deferred, 2, "buckets have one state");
    storage.be(Behaviour::AtOnce);
    wait_for_replay(&fallback, &limiter).await;
    assert_eq!(fallback.stats().replayed, 23);
    assert_eq!(limiter.peek("k", "r").await.unwrap().remaining(), 80);
    limiter.replace_rule(log).unwrap();
    assert_eq!(limiter.peek("k", "r").await.unwrap().remaining(), 97);
}

#[tokio::test]
async fn a_reset_drops_the_deferred_charges_of_every_algorithm() {
    let rule = |algorithm| Rule::per_day("r", 100).algorithm(algorithm);
    let log = rule(Algorithm::SlidingWindowLog);
    let (limiter, _, fallback) = of_rule(log, Behaviour::Fails, local(1));
    count_allowed(&limiter, "k", "r", 3).await;
    limiter.replace_rule(rule(Algorithm::LeakyBucket)).unwrap();
    count_allowed(&limiter, "k", "r", 3).await;
    limiter.reset("k", "r").await.unwrap_err();
    assert_eq!(fallback.stats().deferred, 0);
}

#[tokio::test]
async fn a_deferred_charge_is_replayed_up_to_the_limit_and_does_not_block() {
    let rule = fixed("r", 20).block(Duration::from_secs(3_600));
    let (limiter, storage, fallback) = of_rule(rule, Behaviour::AtOnce, local(1));
    assert_eq!(count_allowed(&limiter, "k", "r", 15).await, 15);
    storage.be(Behaviour::Fails);
    assert_eq!(count_allowed(&limiter, "k", "r", 12).await, 12);
    storage.be(Behaviour::AtOnce);
    wait_for_replay(&fallback, &limiter).await;
    let state = limiter.peek("k", "r").await.unwrap();
    assert_eq!((state.remaining(), state.is_blocked()), (0, false));
    let stats = fallback.stats();
    assert_eq!((stats.replayed, stats.dropped), (5, 7));
}

#[tokio::test]
async fn a_deferred_charge_is_replayed_to_each_free_part_of_a_queue() {
    let rule = Rule::per_hour("r", 10).algorithm(Algorithm::LeakyBucket);
    let (limiter, storage, fallback) = of_rule(rule, Behaviour::AtOnce, local(1));
    let mut queue = Vec::new();
    for _ in 0..10 {
        queue.push(limiter.check("k", "r").await.unwrap());
    }
    for gone in [1, 4, 7] {
        limiter.rollback("k", &queue[gone..=gone]).await.unwrap();
    }
    storage.be(Behaviour::Fails);
    assert_eq!(count_allowed(&limiter, "k", "r", 3).await, 3);
    storage.be(Behaviour::AtOnce);
    wait_for_replay(&fallback, &limiter).await;
    assert_eq!((fallback.stats().replayed, fallback.stats().dropped), (3, 0));
    assert_eq!(limiter.peek("k", "r").await.unwrap().remaining(), 0);
}

/// The `remaining` of a fallback, for every algorithm and with several rules.
#[tokio::test]
async fn the_remaining_cost_of_a_share_is_allowed_at_once_and_one_more_is_not() {
    for algorithm in Algorithm::ALL {
        let rule = Rule::per_hour("r", 100).algorithm(algorithm);
        let (limiter, storage, _) = of_rule(rule, Behaviour::Fails, local(3));
        limiter.add_rule(Rule::per_hour("wide", 1_000)).unwrap();
        for cost in [1, 4, 7] {
            limiter.check_cost("k", "r", cost).await.unwrap();
            let decisions = limiter.check_all("k", &["r", "wide"]).await.unwrap();
            assert!(decisions.most_restrictive().is_degraded(), "{algorithm}");
        }
        let remaining = limiter.peek("k", "r").await.unwrap().remaining();
        assert_eq!(remaining, 33 - 15, "{algorithm}");
        let more = limiter.check_cost("k", "r", remaining + 1).await.unwrap();
        assert!(!more.is_allowed(), "{algorithm}");
        assert!(limiter.check_cost("k", "r", remaining).await.unwrap().is_allowed(), "{algorithm}");
        storage.be(Behaviour::AtOnce);
    }
}

#[tokio::test]
async fn a_deferred_charge_that_no_longer_counts_is_not_replayed() {
    let clock = ManualClock::default();
    let storage = FaultyStorage::new(Behaviour::Fails);
    let fallback = Fallback::new(storage.clone(), local(1));
    let limiter = Limiter::builder(fallback.clone()).clock(clock.clone()).build();
    let minute = Duration::from_secs(60);
    limiter.add_rule(Rule::new("r", 6, minute).algorithm(Algorithm::FixedWindow)).unwrap();
    limiter.add_rule(Rule::new("b", 6, minute).algorithm(Algorithm::TokenBucket)).unwrap();
    for rule in ["r", "b"] {
        assert_eq!(count_allowed(&limiter, "k", rule, 4).await, 4);
    }
    clock.advance(minute / 2); // three of the four tokens are refilled
    storage.be(Behaviour::AtOnce);
    wait_for_replay(&fallback, &limiter).await;
    assert_eq!(limiter.peek("k", "b").await.unwrap().remaining(), 5);
    assert_eq!(limiter.peek("k", "r").await.unwrap().remaining(), 2);

    storage.be(Behaviour::Fails);
    assert_eq!(count_allowed(&limiter, "l", "r", 4).await, 4);
    clock.advance(minute);
    storage.be(Behaviour::AtOnce);
    until("the deferred charges to be dropped", SOON, || async {
        let _ = limiter.peek("client", "r").await;
        fallback.stats().deferred == 0
    })
    .await;
    assert_eq!(limiter.peek("l", "r").await.unwrap().remaining(), 6);
}

#[tokio::test]
async fn a_cost_that_may_have_been_charged_is_not_deferred() {
    let (limiter, storage, fallback) = of_rule(fixed("r", 100), Behaviour::LosesAnswers, local(1));
    assert_eq!(count_allowed(&limiter, "k", "r", 10).await, 10);
    assert_eq!(fallback.stats().deferred, 0);
    storage.be(Behaviour::AtOnce);
    assert_eq!(limiter.check("k", "r").await.unwrap().remaining(), 89, "the ten were charged");
}

#[tokio::test]
async fn a_reset_during_an_outage_frees_the_key_locally_and_returns_the_error() {
    let (limiter, storage, fallback) = of_rule(fixed("r", 10), Behaviour::Fails, local(2));
    assert_eq!(count_allowed(&limiter, "k", "r", 10).await, 5);
    limiter.reset("k", "r").await.unwrap_err();
    assert_eq!(fallback.stats().deferred, 0);
    assert_eq!(count_allowed(&limiter, "k", "r", 10).await, 5);
    storage.be(Behaviour::AtOnce);
    limiter.reset("k", "r").await.unwrap();
    assert_eq!(count_allowed(&limiter, "k", "r", 20).await, 10);
}

#[tokio::test]
async fn a_degraded_decision_is_not_refunded() {
    let (limiter, storage, _) = of_rule(fixed("r", 10), Behaviour::AtOnce, local(1));
    limiter.check_cost("k", "r", 4).await.unwrap();
    storage.be(Behaviour::LosesAnswers);
    let degraded = limiter.check("k", "r").await.unwrap();
    storage.be(Behaviour::AtOnce);
    limiter.rollback("k", &[degraded]).await.unwrap();
    assert_eq!(limiter.peek("k", "r").await.unwrap().remaining(), 5, "no other charge is refunded");
}

#[tokio::test]
async fn deferred_charges_are_bounded() {
    let modes = local(1).max_deferred(10);
    let (limiter, storage, fallback) = of_rule(fixed("r", 10), Behaviour::Fails, modes);
    for key in 0..100 {
        assert!(limiter.check(&format!("{key}"), "r").await.unwrap().is_allowed());
    }
    let stats = fallback.stats();
    assert_eq!((stats.deferred, stats.dropped), (10, 90));
    storage.be(Behaviour::AtOnce);
    wait_for_replay(&fallback, &limiter).await;
    assert_eq!((fallback.stats().replayed, fallback.stats().dropped), (10, 90));
}

#[tokio::test]
async fn deferred_charges_wait_when_the_storage_fails_again() {
    let (limiter, storage, fallback) = of_rule(fixed("r", 10), Behaviour::Fails, local(1));
    for key in 0..50 {
        limiter.check(&format!("{key}"), "r").await.unwrap();
    }
    storage.be(Behaviour::AtOnce);
    limiter.peek("client", "r").await.unwrap(); // starts the replay in the background
    storage.be(Behaviour::Fails);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stats = fallback.stats();
    assert!(stats.deferred > 0 && stats.deferred + stats.replayed == 50, "{stats:?}");
    storage.be(Behaviour::AtOnce);
    wait_for_replay(&fallback, &limiter).await;
    assert_eq!(fallback.stats().replayed, 50);
}

#[tokio::test]
async fn each_outage_is_reported_once_however_many_requests_it_affects() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let modes = FailureModes::fail_open()
        .on_change(move |change| told.lock().unwrap().push(change.clone()));
    let (limiter, storage, fallback) = of_rule(fixed("r", 1_000_000), Behaviour::AtOnce, modes);
    for _ in 0..2 {
        for attempt in 0..200 {
            // Every second call fails: still one outage.
            storage.be([Behaviour::Fails, Behaviour::AtOnce][attempt % 2]);
            limiter.check("k", "r").await.unwrap();
        }
        storage.be(Behaviour::AtOnce);
        assert!(fallback.stats().degraded);
        until("the storage to count as recovered", SOON, || async {
            limiter.check("k", "r").await.unwrap();
            !fallback.stats().degraded
        })
        .await;
    }
    assert_eq!(fallback.stats().outages, 2);
    let seen = seen.lock().unwrap();
    let degraded = |change: &FallbackChange| matches!(change, FallbackChange::Degraded { .. });
    assert_eq!(seen.iter().map(degraded).collect::<Vec<_>>(), [true, false, true, false]);
    let FallbackChange::Degraded { error } = &seen[0] else { panic!() };
    assert!(error.contains("it is down"));
}

#[tokio::test]
async fn a_corrupt_key_is_decided_by_its_mode_and_is_not_an_outage() {
    let (limiter, storage, fallback) = of_rule(fixed("r", 10), Behaviour::Corrupt, local(1));
    assert!(limiter.check("k", "r").await.unwrap().is_degraded());
    let stats = fallback.stats();
    assert_eq!((stats.key_errors, stats.outages, stats.deferred), (1, 0, 0));
    storage.be(Behaviour::AtOnce);
    assert!(!limiter.check("k", "r").await.unwrap().is_degraded());
}

#[tokio::test]
async fn operations_go_to_the_storage_and_fail_with_it() {
    let storage = FaultyStorage::new(Behaviour::Fails);
    let fallback = Fallback::new(storage.clone(), FailureModes::fail_open());
    assert!(fallback.get("k").await.is_err() && fallback.increment("k", 1, None).await.is_err());
    storage.be(Behaviour::AtOnce);
    assert_eq!(fallback.increment("k", 2, None).await.unwrap(), 2);
}
