//! Leases under refunds, resets, other rules, failures, idleness and shutdown.

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{Behaviour, FaultyStorage, count_allowed, fixed, limiter, until};
use throttle_core::{Algorithm, Limiter, ManualClock, Micros, Rule};
use throttle_memory::MemoryStorage;
use throttle_resilience::{FailureMode, FailureModes, Instances, LeaseBudget, Leases, Resilience};

/// Returns a rule whose window does not end during a test, and of which 1,000 permits may be held.
fn wide(name: &str) -> Rule {
    fixed(name, 10_000)
}

fn leases(storage: impl throttle_core::Storage) -> Leases {
    Leases::new(storage, 1).rule("r", LeaseBudget::percent(10)).build()
}

/// Sends requests until the key is leased.
async fn warm(limiter: &Limiter, key: &str) -> u64 {
    count_allowed(limiter, key, "r", 100).await
}

#[tokio::test]
async fn refunding_more_than_was_charged_never_exceeds_the_limit() {
    let memory = MemoryStorage::new();
    let leases = leases(memory);
    let limiter = limiter(leases.clone(), [wide("r")]);
    let mut allowed = warm(&limiter, "k").await;
    let decision = limiter.check("k", "r").await.unwrap();
    allowed += 1;
    assert!(leases.stats().held > 0, "{:?}", leases.stats());
    for _ in 0..500 {
        limiter.rollback("k", std::slice::from_ref(&decision)).await.unwrap();
    }
    limiter.refund("k", "r", 1_000_000).await.unwrap();
    let more = count_allowed(&limiter, "k", "r", 12_000).await;
    assert!(allowed > 0 && more == 10_000, "{more} were allowed after everything was refunded");
}

#[tokio::test]
async fn a_refund_goes_into_the_lease_that_it_came_from() {
    let storage = FaultyStorage::new(Behaviour::AtOnce);
    let leases = leases(storage.clone());
    let limiter = limiter(leases.clone(), [wide("r")]);
    warm(&limiter, "k").await;
    let before = leases.stats();
    let decision = limiter.check("k", "r").await.unwrap();
    let (calls, left) = (storage.calls(), decision.remaining());
    limiter.rollback("k", &[decision]).await.unwrap();
    assert_eq!(storage.calls(), calls, "without a call");
    assert_eq!(leases.stats().held, before.held);
    assert_eq!(limiter.check("k", "r").await.unwrap().remaining(), left);

    // When the lease has ended, the storage gets the refund.
    let decision = limiter.check("k", "r").await.unwrap();
    leases.flush().await;
    let left = limiter.peek("k", "r").await.unwrap().remaining();
    limiter.rollback("k", &[decision]).await.unwrap();
    assert_eq!(limiter.peek("k", "r").await.unwrap().remaining(), left + 1);
}

/// A cost that the lease covers in part, and the storage for the rest.
#[tokio::test]
async fn the_remaining_cost_is_allowed_at_once_and_one_more_is_not() {
    for algorithm in Algorithm::ALL {
        for seed in 0..40 {
            let mut random = fastrand::Rng::with_seed(seed);
            let clock = ManualClock::default();
            clock.set(Micros::new(1_767_225_600_100_000).to_system_time());
            let leases = leases(MemoryStorage::new());
            let limiter = Limiter::builder(leases.clone()).clock(clock.clone()).build();
            let rule = Rule::per_minute("r", 10_000).algorithm(algorithm);
            limiter.add_rule(rule).unwrap();
            let (mut remaining, mut charged) = (10_000, Vec::new());
            for _ in 0..random.u64(60..400) {
                let decision = limiter.check_cost("k", "r", random.u64(1..20)).await.unwrap();
                remaining = decision.remaining();
                charged.push(decision);
                if random.u8(..10) == 0 {
                    let one = charged.swap_remove(random.usize(..charged.len()));
                    limiter.rollback("k", &[one]).await.unwrap();
                    remaining = limiter.peek("k", "r").await.unwrap().remaining();
                }
                clock.advance(Duration::from_micros(random.u64(..3_000)));
            }
            let peeked = limiter.peek("k", "r").await.unwrap().remaining();
            assert!(peeked >= remaining, "{algorithm}, {seed}: {peeked} of {remaining}");
            let held = leases.stats().held;
            let of = format!("{algorithm}, seed {seed}: {peeked}, of which {held} are held");
            let more = limiter.check_cost("k", "r", peeked + 1).await.unwrap();
            assert!(!more.is_allowed(), "{of}");
            let remaining = limiter.peek("k", "r").await.unwrap().remaining();
            assert_eq!(remaining, peeked, "{of}: a denial charges nothing");
            let batch = limiter.check_cost("k", "r", peeked).await.unwrap();
            assert!(batch.is_allowed(), "{of}");
            let next = limiter.check("k", "r").await.unwrap();
            // A queue may have other freed slots.
            assert!(!next.is_allowed() || algorithm == Algorithm::LeakyBucket, "{of}");
            limiter.rollback("k", &[batch]).await.unwrap();
            let after = limiter.peek("k", "r").await.unwrap().remaining();
            assert!(after <= peeked, "{of}: {after} after a refund");
        }
    }
}

#[tokio::test]
async fn a_refund_that_only_the_lease_received_is_not_repeated() {
    let storage = FaultyStorage::new(Behaviour::AtOnce);
    let leases = leases(storage.clone());
    let limiter = limiter(leases.clone(), [wide("r"), wide("without")]);
    warm(&limiter, "k").await;
    let held = leases.stats().held;
    let decisions = limiter.check_all("k", &["r", "without"]).await.unwrap();
    storage.refund(Behaviour::Fails);
    limiter.rollback("k", decisions.all()).await.unwrap_err();
    assert_eq!(leases.stats().held, held);
    storage.refund(Behaviour::AtOnce);
    limiter.rollback("k", decisions.all()).await.unwrap();
    assert_eq!(leases.stats().held, held);
}

#[tokio::test]
async fn a_clock_that_steps_back_allows_nothing_more() {
    for algorithm in Algorithm::ALL {
        let clock = ManualClock::default();
        clock.set(Micros::new(1_767_225_600_500_000).to_system_time());
        let leases = leases(MemoryStorage::new());
        let limiter = Limiter::builder(leases.clone()).clock(clock.clone()).build();
        limiter.add_rule(Rule::per_second("r", 1_000).algorithm(algorithm)).unwrap();
        let mut allowed = count_allowed(&limiter, "k", "r", 500).await;
        clock.set(Micros::new(1_000_000_000_000_000).to_system_time());
        allowed += count_allowed(&limiter, "k", "r", 2_000).await;
        assert!(allowed <= 1_000, "{algorithm}: {allowed}");
        // 5 % of a bucket's burst are reserved, and 10 % may be rejected too early.
        assert!(allowed >= 850, "{algorithm}: {allowed}");
    }
}

#[tokio::test]
async fn a_reset_ends_the_lease_and_frees_the_key() {
    let leases = leases(MemoryStorage::new());
    let limiter = limiter(leases.clone(), [wide("r")]);
    count_allowed(&limiter, "k", "r", 12_000).await;
    assert!(!limiter.check("k", "r").await.unwrap().is_allowed());
    limiter.reset("k", "r").await.unwrap();
    assert_eq!(leases.stats().held, 0);
    assert_eq!(count_allowed(&limiter, "k", "r", 12_000).await, 10_000);

    warm(&limiter, "other").await;
    assert!(leases.stats().held > 0);
    limiter.storage().clear().await.unwrap();
    assert_eq!(leases.stats().held, 0);
    assert_eq!(count_allowed(&limiter, "other", "r", 12_000).await, 10_000);
}

#[tokio::test]
async fn a_denial_by_an_unleased_rule_charges_no_leased_rule() {
    let leases = leases(MemoryStorage::new());
    let limiter = limiter(leases.clone(), [wide("r"), fixed("narrow", 50)]);
    let mut allowed = warm(&limiter, "k").await;
    for rules in [["r", "narrow"], ["narrow", "r"]].iter().cycle().take(200) {
        let decisions = limiter.check_all("k", rules).await.unwrap();
        allowed += u64::from(decisions.is_allowed());
        if !decisions.is_allowed() {
            assert_eq!(decisions.most_restrictive().rule(), "narrow");
            let wide = decisions.all().iter().find(|one| one.rule() == "r").unwrap();
            assert!(wide.is_allowed() && wide.remaining() >= 10_000 - allowed, "{wide:?}");
        }
    }
    assert_eq!(allowed, 150);
    assert!(leases.stats().held > 0);
    assert_eq!(limiter.peek("k", "r").await.unwrap().remaining(), 10_000 - allowed);
    assert_eq!(allowed + count_allowed(&limiter, "k", "r", 12_000).await, 10_000);
}

#[tokio::test]
async fn two_leased_rules_are_both_charged_without_calls() {
    let storage = FaultyStorage::new(Behaviour::AtOnce);
    let leases = Leases::new(storage.clone(), 1);
    let leases =
        leases.rule("r", LeaseBudget::percent(10)).rule("s", LeaseBudget::percent(1)).build();
    let limiter = limiter(leases.clone(), [wide("r"), fixed("s", 5_000)]);
    let mut allowed = 0_u64;
    for _ in 0..6_000 {
        let decisions = limiter.check_all("k", &["s", "r"]).await.unwrap();
        allowed += u64::from(decisions.is_allowed());
        if allowed == 2_000 {
            assert!(storage.calls() < 500, "{} calls", storage.calls());
        }
    }
    assert_eq!(allowed, 5_000);
    assert_eq!(limiter.peek("k", "r").await.unwrap().remaining(), 5_000);
}

#[tokio::test]
async fn a_replaced_rule_is_leased_again_and_keeps_its_counts() {
    let leases = leases(MemoryStorage::new());
    let limiter = limiter(leases.clone(), [wide("r")]);
    warm(&limiter, "k").await;
    limiter.replace_rule(fixed("r", 500)).unwrap();
    assert_eq!(count_allowed(&limiter, "k", "r", 2_000).await, 400);
    limiter.replace_rule(Rule::per_day("r", 300).algorithm(Algorithm::LeakyBucket)).unwrap();
    assert_eq!(
        count_allowed(&limiter, "k", "r", 2_000).await,
        300,
        "another algorithm starts with a new state"
    );
    leases.flush().await;
    assert!(!limiter.check("k", "r").await.unwrap().is_allowed(), "and nothing was credited to it");
}

#[tokio::test]
async fn rules_that_block_are_not_leased() {
    let leases = leases(MemoryStorage::new());
    let limiter = limiter(leases.clone(), [wide("r").block(Duration::from_secs(60))]);
    assert_eq!(count_allowed(&limiter, "k", "r", 10_001).await, 10_000);
    assert!(limiter.check("k", "r").await.unwrap().is_blocked());
    assert_eq!(leases.stats().fetched, 0);
}

#[tokio::test]
async fn cold_keys_are_not_leased_and_hot_keys_only_up_to_the_maximum() {
    let leases = Leases::new(MemoryStorage::new(), 1).rule("r", LeaseBudget::percent(10));
    let leases = leases.max_keys(4).build();
    let limiter = limiter(leases.clone(), [wide("r")]);
    for key in 0..2_000 {
        count_allowed(&limiter, &format!("cold-{key}"), "r", 3).await;
    }
    assert!(leases.stats().keys <= 1, "{:?}", leases.stats());
    for key in 0..100 {
        assert_eq!(count_allowed(&limiter, &format!("hot-{key}"), "r", 100).await, 100);
    }
    let stats = leases.stats();
    assert!((1..=4).contains(&stats.keys), "{stats:?}");
}

#[tokio::test]
async fn unspent_permits_are_returned_when_the_key_cools_down() {
    let memory = MemoryStorage::new();
    let leases = leases(memory.clone());
    let leased = limiter(leases.clone(), [wide("r")]);
    warm(&leased, "k").await;
    assert!(leases.stats().held > 0);
    until("the permits to be returned", Duration::from_secs(20), || async {
        let stats = leases.stats();
        stats.held == 0 && stats.keys == 0
    })
    .await;
    let plain = limiter(memory, [wide("r")]);
    assert_eq!(plain.peek("k", "r").await.unwrap().remaining(), 9_900);
    assert_eq!(leases.stats().taken, leases.stats().returned + leases.stats().spent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn held_permits_are_returned_on_close_and_drop() {
    let memory = MemoryStorage::new();
    let plain = limiter(memory.clone(), [wide("r")]);
    let storage = FaultyStorage::new(Behaviour::Later(Duration::from_millis(1)));
    let later = limiter(storage.memory.clone(), [wide("r")]);

    let closed = leases(memory.clone());
    let own = limiter(closed.clone(), [wide("r")]);
    warm(&own, "k").await;
    closed.close().await;
    assert_eq!(plain.peek("k", "r").await.unwrap().remaining(), 9_900);
    warm(&own, "k").await;
    assert_eq!(closed.stats().held, 0, "nothing is leased after close");

    let dropped = leases(memory);
    let own = limiter(dropped.clone(), [wide("r")]);
    warm(&own, "k").await;
    drop((own, dropped));
    assert_eq!(plain.peek("k", "r").await.unwrap().remaining(), 9_700);

    let dropped = leases(storage);
    let own = limiter(dropped.clone(), [wide("r")]);
    warm(&own, "k").await;
    drop((own, dropped));
    until("the permits to be returned to a delayed storage", Duration::from_secs(20), || async {
        later.peek("k", "r").await.unwrap().remaining() == 9_900
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_over_a_delayed_storage_get_exactly_the_limit() {
    let storage = FaultyStorage::new(Behaviour::Later(Duration::from_millis(1)));
    let leases = leases(storage.clone());
    let limiter = limiter(leases.clone(), [wide("r")]);
    let tasks: Vec<_> = (0..32)
        .map(|_| limiter.clone())
        .map(|limiter| {
            tokio::spawn(async move {
                let mut allowed = 0;
                for _ in 0..50 {
                    allowed += count_allowed(&limiter, "k", "r", 10).await;
                    tokio::task::yield_now().await;
                }
                allowed
            })
        })
        .collect();
    let mut allowed = 0;
    for task in tasks {
        allowed += task.await.unwrap();
    }
    // Of 16,000; the last permits may be held by a batch that arrived too late for these requests.
    allowed += count_allowed(&limiter, "k", "r", 1_100).await;
    let stats = leases.stats();
    assert_eq!(allowed, 10_000, "{stats:?}");
    assert!(stats.allowed > 8_000 && stats.waited > 0, "{stats:?}");
}

#[tokio::test]
async fn while_the_storage_fails_held_permits_are_spent_before_the_mode_applies() {
    let storage = FaultyStorage::new(Behaviour::AtOnce);
    let modes = FailureModes::local(MemoryStorage::new(), 1).rule("r", FailureMode::FailClosed);
    let wrapped =
        Resilience::new(storage.clone()).failure_modes(modes).lease("r", LeaseBudget::percent(10));
    let wrapped = wrapped.build();
    let limiter = limiter(wrapped.clone(), [wide("r")]);
    warm(&limiter, "k").await;
    let held = wrapped.stats().leases.unwrap().held;
    assert!(held > 10);
    storage.be(Behaviour::Fails);
    for _ in 0..held {
        let decision = limiter.check("k", "r").await.unwrap();
        assert!(decision.is_allowed() && !decision.is_degraded());
    }
    let error = limiter.check("k", "r").await.unwrap_err();
    assert!(error.to_string().contains("it is down"), "{error}");
    assert!(wrapped.stats().fallback.closed > 0);
    storage.be(Behaviour::AtOnce);
    until("the storage to decide again", Duration::from_secs(20), || async {
        limiter.check("k", "r").await.is_ok_and(|decision| !decision.is_degraded())
    })
    .await;
}

#[tokio::test]
async fn permits_of_calls_without_an_answer_count_as_held() {
    let storage = FaultyStorage::new(Behaviour::AtOnce);
    let leases = leases(storage.clone());
    let limiter = limiter(leases.clone(), [wide("r")]);
    let mut allowed = warm(&limiter, "k").await;
    storage.be(Behaviour::LosesAnswers);
    let mut failed = 0;
    for _ in 0..200 {
        for _ in 0..20 {
            let answer = limiter.check("k", "r").await;
            failed += u64::from(answer.is_err());
            allowed += u64::from(answer.is_ok_and(|decision| decision.is_allowed()));
        }
        tokio::time::sleep(Duration::from_millis(1)).await; // until the backoff is over
    }
    storage.be(Behaviour::AtOnce);
    assert!(failed > 1_000);
    leases.flush().await;
    // Each failed request may be charged, as without leases; the batches took at most a tenth.
    let left = limiter.peek("k", "r").await.unwrap().remaining();
    assert!(left + failed + allowed + 1_000 >= 10_000, "{left} {failed} {allowed}");
}

#[tokio::test]
async fn the_log_shows_once_why_a_rule_is_not_leased() {
    let log = Arc::new(std::sync::Mutex::new(Vec::new()));
    let writer = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || Line(Arc::clone(&writer)))
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let leases = leases(MemoryStorage::new());
    let limiter = limiter(leases, [Rule::per_day("r", 100).algorithm(Algorithm::LeakyBucket)]);
    count_allowed(&limiter, "k", "r", 50).await;
    drop(guard);
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("WARN") && log.contains("use a token bucket"), "{log}");
}

struct Line(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn several_instances_hold_at_most_the_lease_budget() {
    let memory = MemoryStorage::new();
    let servers: Vec<_> = (0..5)
        .map(|_| {
            let leases = Leases::new(memory.clone(), Instances::fixed(5));
            leases.rule("r", LeaseBudget::percent(10)).build()
        })
        .collect();
    let mut allowed = 0;
    for leases in &servers {
        let limiter = limiter(leases.clone(), [wide("r")]);
        allowed += count_allowed(&limiter, "k", "r", 1_500).await;
        let held = leases.stats().held;
        assert!((1..=200).contains(&held), "{held}");
    }
    assert_eq!(allowed, 7_500);
    let limiter = limiter(memory, [wide("r")]);
    let left = limiter.peek("k", "r").await.unwrap().remaining();
    assert!((1_500..2_500).contains(&left), "{left}");
}

#[tokio::test]
async fn a_decision_that_waits_for_batches_has_one_deadline() {
    let storage = FaultyStorage::default();
    let deadline = Duration::from_millis(300);
    let resilient = Resilience::new(storage.clone()).deadline(deadline);
    let resilient = resilient.lease("r", LeaseBudget::percent(50)).build();
    let limiter = limiter(resilient, [fixed("r", 100)]);
    let mut allowed = count_allowed(&limiter, "k", "r", 60).await;
    // Other instances leave so little that a batch is denied, and half of it is requested.
    let others = common::limiter(storage.memory.clone(), [fixed("r", 100)]);
    while others.peek("k", "r").await.unwrap().remaining() > 4 {
        allowed += u64::from(others.check("k", "r").await.unwrap().is_allowed());
    }
    storage.be(Behaviour::Later(Duration::from_millis(200)));
    let mut longest = Duration::ZERO;
    for _ in 0..40 {
        let began = Instant::now();
        allowed += u64::from(limiter.check("k", "r").await.is_ok_and(|d| d.is_allowed()));
        longest = longest.max(began.elapsed());
    }
    assert!(longest > Duration::from_millis(290), "no request waited for two calls: {longest:?}");
    assert!(longest < Duration::from_millis(390), "two calls of 200 ms: {longest:?}");
    assert!(allowed <= 100, "{allowed}");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the maintenance task must not run first")]
async fn no_request_waits_long_for_permits_returned_before_a_batch() {
    let storage = FaultyStorage::default();
    let leases = leases(storage.clone());
    let bucket = Rule::per_second("r", 2_000).algorithm(Algorithm::TokenBucket);
    let limiter = limiter(leases.clone(), [bucket]);
    count_allowed(&limiter, "k", "r", 600).await;
    assert!(leases.stats().held > 0, "{:?}", leases.stats());
    storage.be(Behaviour::Later(Duration::from_millis(1)));
    storage.refund(Behaviour::Later(Duration::from_millis(1_500)));
    std::thread::sleep(Duration::from_millis(150)); // the permits expire
    let began = Instant::now();
    assert!(limiter.check("k", "r").await.unwrap().is_allowed());
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    until("the permits to be returned nevertheless", Duration::from_secs(20), || async {
        leases.stats().returned > 0
    })
    .await;
}

#[tokio::test]
async fn a_storage_that_panics_at_the_end_does_not_end_the_process() {
    let storage = FaultyStorage::new(Behaviour::AtOnce);
    let leases = leases(storage.clone());
    let limiter = limiter(leases.clone(), [wide("r")]);
    warm(&limiter, "k").await;
    assert!(leases.stats().held > 0);
    storage.be(Behaviour::Panics);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _dropped = (limiter, leases);
        std::panic::resume_unwind(Box::new("in a handler"));
    }));
    assert_eq!(panic.unwrap_err().downcast_ref::<&str>(), Some(&"in a handler"));
}
