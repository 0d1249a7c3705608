//! Adding, replacing and removing rules, and requests that name rules.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use throttle_core::{Algorithm, AskKind, Error, Key, Limiter, Rule};

use crate::limiter;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changing_rules_under_load_does_not_reset_their_counts() {
    let (limiter, _) = limiter([Rule::per_day("api", 100)]);
    let allowed = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (limiter, allowed) = (limiter.clone(), Arc::clone(&allowed));
            tokio::spawn(async move {
                for _ in 0..2_000 {
                    match limiter.check("k", "api").await {
                        Ok(decision) => allowed.fetch_add(decision.is_allowed().into(), Relaxed),
                        Err(Error::NoRules | Error::UnknownRule { .. }) => 0,
                        Err(error) => panic!("{error}"),
                    };
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for i in 0..300 {
        match i % 4 {
            0 => assert!(limiter.replace_rule(Rule::per_day("api", 50)).unwrap()),
            1 => assert!(limiter.replace_rule(Rule::per_day("api", 100)).unwrap()),
            2 => assert!(limiter.remove_rule("api")),
            _ => limiter.add_rule(Rule::per_day("api", 100)).unwrap(),
        }
        tokio::task::yield_now().await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    while limiter.check("k", "api").await.unwrap().is_allowed() {
        allowed.fetch_add(1, Relaxed);
    }
    assert_eq!(allowed.load(Relaxed), 100, "a rule that is added again must keep its count");
}

#[tokio::test]
async fn an_unknown_rule_is_an_error_that_lists_the_known_ones() {
    let (limiter, _) = limiter([]);
    assert!(matches!(limiter.check("k", "api").await, Err(Error::NoRules)));

    for name in ["login", "api", "with \"quotes\""] {
        limiter.add_rule(Rule::per_minute(name, 5)).unwrap();
    }
    let all = [
        limiter.check("k", "apy").await.unwrap_err(),
        limiter.check_cost("k", "apy", 2).await.unwrap_err(),
        limiter.check_all("k", &["api", "apy"]).await.unwrap_err(),
        limiter.peek("k", "apy").await.unwrap_err(),
        limiter.reset("k", "apy").await.unwrap_err(),
        limiter.refund("k", "apy", 1).await.unwrap_err(),
        limiter.until_ready("k", "apy").await.unwrap_err(),
    ];
    for error in all {
        let text = error.to_string();
        assert!(text.contains(r#"unknown rule "apy""#), "{text}");
        assert!(text.contains(r#""api", "login", "with \"quotes\"""#), "{text}");
    }
    assert_eq!(limiter.peek("k", "api").await.unwrap().remaining(), 5, "nothing was charged");
    assert_eq!(limiter.metrics().total, 0);
}

#[tokio::test]
async fn the_error_about_an_unknown_rule_is_short_even_with_many_rules() {
    let (limiter, _) = limiter((0..500).map(|n| Rule::per_minute(format!("rule-{n:03}"), 5)));
    let error = limiter.check("k", &"x".repeat(100_000)).await.unwrap_err().to_string();
    assert!(error.contains("\"rule-019\"") && error.contains("480 more"), "{error}");
    assert!(error.len() < 1_000, "{} bytes", error.len());
}

#[tokio::test]
async fn an_invalid_request_is_an_error_and_charges_nothing() {
    let (limiter, _) = limiter([Rule::per_minute("a", 5), Rule::per_minute("b", 5)]);
    let repeated = limiter.check_all("k", &["a", "b", "a"]).await.unwrap_err();
    assert!(matches!(&repeated, Error::RepeatedRule(name) if name == "a"), "{repeated}");
    assert!(matches!(limiter.check_cost("k", "a", 0).await, Err(Error::ZeroCost)));
    assert!(matches!(limiter.check_all("k", &[]).await, Err(Error::NoRules)));
    for rule in ["a", "b"] {
        assert_eq!(limiter.peek("k", rule).await.unwrap().remaining(), 5);
    }
    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.errors), (0, 0), "an invalid request must not be counted");
}

#[tokio::test]
async fn an_invalid_rule_changes_nothing() {
    let (limiter, _) = limiter([Rule::per_minute("a", 5)]);
    limiter.check("k", "a").await.unwrap();

    limiter.add_rule(Rule::per_minute("a", 5)).unwrap(); // an equal rule is allowed
    let other = limiter.add_rule(Rule::per_minute("a", 6)).unwrap_err();
    assert!(matches!(&other, Error::DuplicateRule(name) if name == "a"), "{other}");
    for invalid in [
        limiter.add_rule(Rule::per_minute("b", 0)),
        limiter.replace_rule(Rule::per_minute("a", 0)).map(|_| ()),
    ] {
        let error = invalid.unwrap_err();
        assert!(matches!(&error, Error::InvalidRule(why) if why.field() == "limit"), "{error}");
    }
    assert_eq!(limiter.rules().len(), 1);
    let decision = limiter.peek("k", "a").await.unwrap();
    assert_eq!((decision.limit(), decision.remaining()), (5, 4));
}

#[tokio::test]
async fn adding_the_original_rule_again_does_not_undo_its_replacement() {
    let (limiter, _) = limiter([Rule::per_minute("a", 5)]);
    limiter.replace_rule(Rule::per_minute("a", 9)).unwrap();
    limiter.add_rule(Rule::per_minute("a", 5)).unwrap();
    assert_eq!(limiter.rule("a").unwrap().limit(), 9);
    assert!(limiter.add_rule(Rule::per_minute("a", 6)).is_err());
    limiter.remove_rule("a");
    limiter.add_rule(Rule::per_minute("a", 6)).unwrap();
    assert_eq!(limiter.rule("a").unwrap().limit(), 6);
}

#[tokio::test]
async fn a_rule_with_a_max_delay_is_built_once_for_each_replacement() {
    let queue = |limit| Rule::per_minute("a", limit).algorithm(Algorithm::LeakyBucket).burst(9);
    let (limiter, _) = limiter([queue(5)]);
    let second = Duration::from_secs(1);
    let ask = async |max_delay| {
        let kind = AskKind::Shape { max_delay };
        let reply = limiter.begin(&Key::from("k"), Some(&["a"]), None, kind);
        Arc::clone(reply.await.unwrap().most_restrictive().checked_rule())
    };
    let first = ask(second).await;
    assert_eq!(first.max_delay(), Some(second.into()));
    assert!(Arc::ptr_eq(&first, &ask(second).await));
    assert_eq!(ask(2 * second).await.max_delay(), Some((2 * second).into()));
    assert_eq!(ask(Duration::MAX).await.max_delay(), None);
    limiter.replace_rule(queue(6)).unwrap();
    assert_eq!(ask(second).await.limit(), 6);
}

#[tokio::test]
async fn a_rule_exists_until_it_is_removed() {
    let (limiter, _) = limiter([]);
    assert!(
        !limiter.replace_rule(Rule::per_minute("b", 5)).unwrap(),
        "there was no rule to replace"
    );
    limiter.add_rule(Rule::per_minute("a", 7)).unwrap();
    assert_eq!(limiter.rules().iter().map(|rule| rule.name()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(limiter.rule("a").unwrap().limit(), 7);
    assert!(limiter.remove_rule("a") && !limiter.remove_rule("a"));
    assert!(limiter.rule("a").is_none() && limiter.rule("b").is_some());
    assert!(matches!(limiter.check("k", "a").await, Err(Error::UnknownRule { .. })));
}

#[tokio::test]
async fn clones_share_their_rules_and_their_counts() {
    let (limiter, _) = limiter([Rule::per_minute("a", 5)]);
    let clone = limiter.clone();
    clone.add_rule(Rule::per_minute("b", 5)).unwrap();
    limiter.check("k", "b").await.unwrap();
    assert_eq!(clone.check("k", "b").await.unwrap().remaining(), 3);
    assert_eq!(clone.metrics().total, 2);
}

#[tokio::test]
async fn a_request_without_rule_names_is_checked_against_all_rules() {
    let (limiter, _) = limiter([Rule::per_minute("a", 5), Rule::per_hour("b", 3)]);
    let decisions =
        limiter.begin::<&str>(&Key::from("k"), None, None, AskKind::Acquire).await.unwrap();
    assert_eq!(decisions.all().iter().map(|one| one.rule()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(decisions.most_restrictive().rule(), "b", "b has the least remaining");
    assert_eq!(limiter.peek("k", "a").await.unwrap().remaining(), 4);
}

#[tokio::test]
async fn the_callers_cost_overrides_the_rules_cost() {
    let (limiter, _) = limiter([Rule::per_minute("a", 10).cost(3), Rule::per_minute("b", 10)]);
    let decisions = limiter.check_all("k", &["a", "b"]).await.unwrap();
    assert_eq!(decisions.all().iter().map(|one| one.remaining()).collect::<Vec<_>>(), [7, 9]);
    assert_eq!(limiter.check_cost("k", "a", 1).await.unwrap().remaining(), 6);
    assert_eq!(limiter.until_ready("k", "a").await.unwrap().remaining(), 3);
    assert_eq!(limiter.peek("k", "a").await.unwrap().cost(), 3);
}

#[tokio::test]
async fn a_charge_is_not_refunded_to_a_rule_of_another_algorithm() {
    let (limiter, _) = limiter([Rule::per_minute("a", 5)]);
    let decision = limiter.check("k", "a").await.unwrap();
    limiter.replace_rule(Rule::per_minute("a", 5).algorithm(Algorithm::TokenBucket)).unwrap();
    limiter.check_cost("k", "a", 5).await.unwrap();
    limiter.rollback("k", std::slice::from_ref(&decision)).await.unwrap();
    assert!(!limiter.check("k", "a").await.unwrap().is_allowed());
    assert!(limiter.remove_rule("a"));
    limiter.rollback("k", &[decision]).await.unwrap();
}

#[tokio::test]
async fn a_count_of_another_algorithm_is_logged_once_per_rule() {
    let (log, _guard) = throttle_testkit::Log::start();
    let (limiter, _) = limiter([]);
    for algorithm in [Algorithm::FixedWindow, Algorithm::TokenBucket].repeat(3) {
        limiter.replace_rule(Rule::per_minute("rolled out", 9).algorithm(algorithm)).unwrap();
        for client in ["one", "two"] {
            limiter.check(client, "rolled out").await.unwrap();
        }
    }
    let log = log.take();
    assert_eq!(log.matches("another algorithm").count(), 1, "{log}");
    assert!(log.contains("rolled out"), "{log}");
}

fn names(limiter: &Limiter) -> Vec<String> {
    limiter.rules().iter().map(|rule| rule.name().to_owned()).collect()
}

#[tokio::test]
async fn a_set_of_rules_replaces_all_rules_and_keeps_the_counts_of_names_that_stay() {
    let (limiter, _) = limiter([Rule::per_day("a", 2), Rule::per_day("b", 2)]);
    for rule in ["a", "b"] {
        assert!(limiter.check("k", rule).await.unwrap().is_allowed());
    }
    let unchanged = limiter.rule("a").unwrap();
    limiter.set_rules([Rule::per_day("c", 1), Rule::per_day("a", 2)]).unwrap();
    assert_eq!(names(&limiter), ["a", "c"]);
    assert!(Arc::ptr_eq(&limiter.rule("a").unwrap(), &unchanged));
    assert_eq!(limiter.check("k", "a").await.unwrap().remaining(), 0);
    limiter.set_rules([Rule::per_day("a", 5)]).unwrap();
    assert_eq!(limiter.check("k", "a").await.unwrap().remaining(), 2);

    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.rules["a"].total), (4, 3), "removed rules stay counted");
    limiter.set_rules([]).unwrap();
    assert!(matches!(limiter.check("k", "a").await, Err(Error::NoRules)));
    assert_eq!(limiter.metrics().total, 4);
}

#[tokio::test]
async fn a_set_of_rules_with_an_error_changes_nothing() {
    let (limiter, _) = limiter([Rule::per_day("a", 2)]);
    let _uploads = limiter.concurrency("uploads", 1).unwrap();
    for set in [
        [Rule::per_day("b", 1), Rule::per_day("c", 0)],
        [Rule::per_day("b", 1), Rule::per_day("b", 2)],
        [Rule::per_day("b", 1), Rule::per_day("uploads", 2)],
    ] {
        assert!(matches!(
            limiter.set_rules(set),
            Err(Error::InvalidRule(_) | Error::DuplicateRule(_))
        ));
        assert_eq!(names(&limiter), ["a"]);
    }
}

#[tokio::test]
async fn a_set_of_rules_does_not_remove_or_change_the_rules_of_layers() {
    let (limiter, _) = limiter([Rule::per_day("a", 2)]);
    let login = || Rule::per_day("login", 1);
    limiter.add_named_rule(login()).unwrap();
    limiter.set_rules([]).unwrap();
    assert_eq!(names(&limiter), ["login"]);
    let changed = limiter.set_rules([Rule::per_day("login", 2)]);
    assert!(matches!(changed, Err(Error::DuplicateRule(_))));
    let named_only = || limiter.status().rules[0].named_only;
    assert!(named_only());
    limiter.set_rules([login()]).unwrap();
    assert!(!named_only());
    limiter.set_rules([]).unwrap();
    assert!(named_only());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_request_never_meets_rules_of_two_sets() {
    let (limiter, _) = limiter([]);
    let set = |limit| (0..300).map(move |i| Rule::per_day(format!("{i:03}"), limit));
    limiter.set_rules(set(1_000)).unwrap();
    let reader = {
        let limiter = limiter.clone();
        tokio::spawn(async move {
            for _ in 0..200 {
                let rules = limiter.rules();
                assert_eq!(rules.len(), 300);
                assert!(rules.iter().all(|rule| rule.limit() == rules[0].limit()));
                tokio::task::yield_now().await;
            }
        })
    };
    for i in 0..100 {
        limiter.set_rules(set(1_001 + i)).unwrap();
        tokio::task::yield_now().await;
    }
    reader.await.unwrap();
}

#[tokio::test]
async fn a_cost_applies_to_a_peek_and_to_several_rules() {
    let (limiter, _) = limiter([Rule::per_day("a", 5), Rule::per_day("b", 9).cost(2)]);
    let decisions = limiter.check_all_cost("k", &["a", "b"], 3).await.unwrap();
    let left: Vec<_> = decisions.all().iter().map(|one| (one.cost(), one.remaining())).collect();
    assert_eq!(left, [(3, 2), (3, 6)]);
    for (cost, is_allowed) in [(2, true), (3, false)] {
        let peeked = limiter.peek_cost("k", "a", cost).await.unwrap();
        assert_eq!((peeked.is_allowed(), peeked.cost(), peeked.remaining()), (is_allowed, cost, 2));
    }
    assert!(!limiter.check_all_cost("k", &["a", "b"], 3).await.unwrap().is_allowed());
    assert_eq!(limiter.peek("k", "b").await.unwrap().remaining(), 6, "none is charged");
    for zero in [
        limiter.peek_cost("k", "a", 0).await,
        limiter.until_ready_cost("k", "a", 0).await,
        limiter.check_all_cost("k", &["a"], 0).await.map(|all| all.most_restrictive().clone()),
    ] {
        assert!(matches!(zero, Err(Error::ZeroCost)));
    }
}
