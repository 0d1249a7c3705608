//! Keys that always pass and keys that never do, on the way of a check.

use throttle_core::{Key, Listed, Rule};

use crate::{MICRO, SECOND, limiter};

#[tokio::test]
async fn a_key_of_the_allow_list_always_passes_and_is_charged_nothing() {
    let (limiter, _) = limiter([Rule::per_minute("api", 2)]);
    limiter.allow_list().add("10.0.0.0/8").unwrap();
    for _ in 0..10 {
        let decision = limiter.check_cost("10.1.2.3", "api", 2).await.unwrap();
        assert!(decision.is_allowed() && !decision.is_blocked());
        assert_eq!((decision.remaining(), decision.listed()), (2, Some(Listed::Allowed)));
        assert!(decision.receipt().is_none() && decision.reset_after().is_zero());
    }
    assert!(limiter.allow_list().remove("10.0.0.0/8").unwrap());
    let decision = limiter.check("10.1.2.3", "api").await.unwrap();
    assert_eq!((decision.remaining(), decision.listed()), (1, None), "nothing was charged before");
}

#[tokio::test]
async fn a_key_of_the_deny_list_never_passes_and_is_charged_nothing() {
    let (limiter, _) = limiter([Rule::per_minute("api", 2), Rule::per_hour("hour", 9)]);
    limiter.deny_list().add("user:42").unwrap();
    let decisions = limiter.check_all("user:42", &["api", "hour"]).await.unwrap();
    assert!(!decisions.is_allowed() && decisions.all().len() == 2);
    let decision = decisions.reported();
    assert!(decision.is_blocked());
    assert_eq!((decision.remaining(), decision.listed()), (0, Some(Listed::Denied)));
    assert_eq!(decision.retry_after(), None, "no wait helps");
    assert!(!limiter.peek("user:42", "api").await.unwrap().is_allowed());
    assert!(limiter.check("user:421", "api").await.unwrap().is_allowed());

    assert!(limiter.deny_list().remove("user:42").unwrap());
    assert_eq!(limiter.check("user:42", "api").await.unwrap().remaining(), 1);
}

#[tokio::test]
async fn a_key_that_stands_in_both_lists_is_denied() {
    let (limiter, _) = limiter([Rule::per_minute("api", 2)]);
    limiter.allow_list().add("10.0.0.0/8").unwrap();
    limiter.deny_list().add("10.1.0.0/16").unwrap();
    assert!(!limiter.check("10.1.2.3", "api").await.unwrap().is_allowed());
    assert!(limiter.check("10.2.2.3", "api").await.unwrap().is_allowed());
    limiter.allow_list().add("10.1.2.3").unwrap();
    assert!(!limiter.check("10.1.2.3", "api").await.unwrap().is_allowed(), "however exactly");
}

#[tokio::test]
async fn a_denial_for_a_time_says_how_long_and_ends_exactly_then() {
    let (limiter, clock) = limiter([Rule::per_minute("api", 2)]);
    limiter.deny_list().add_for("203.0.113.9", 10 * SECOND).unwrap();
    clock.advance(4 * SECOND);
    let denial = limiter.check("203.0.113.9", "api").await.unwrap();
    assert_eq!(denial.retry_after(), Some(6 * SECOND));
    assert_eq!(denial.reset_after(), 6 * SECOND);
    clock.advance(6 * SECOND - MICRO);
    assert!(!limiter.check("203.0.113.9", "api").await.unwrap().is_allowed());
    clock.advance(MICRO);
    let decision = limiter.check("203.0.113.9", "api").await.unwrap();
    assert_eq!((decision.is_allowed(), decision.remaining()), (true, 1));
}

#[tokio::test]
async fn a_key_that_a_client_chose_does_not_pass_as_an_address() {
    let (limiter, _) = limiter([Rule::per_minute("api", 1)]);
    limiter.allow_list().add("10.0.0.0/8").unwrap();
    for n in 0..3 {
        let decision = limiter.check(Key::from("10.0.0.1").opaque(), "api").await.unwrap();
        assert_eq!((decision.is_allowed(), decision.listed()), (n == 0, None));
    }
}

#[tokio::test]
async fn what_the_lists_decide_is_counted_as_what_rules_decide_but_is_no_violation() {
    let (limiter, _) = limiter([Rule::per_minute("api", 2)]);
    limiter.allow_list().add("good").unwrap();
    limiter.deny_list().add("bad").unwrap();
    for key in ["good", "bad", "bad"] {
        limiter.check(key, "api").await.unwrap();
        limiter.peek(key, "api").await.unwrap();
    }
    let metrics = limiter.metrics();
    assert_eq!((metrics.total, metrics.allowed, metrics.denied), (3, 1, 2));
    assert_eq!((metrics.violations, metrics.recent_violations), (0, Vec::new()));
}

#[tokio::test]
async fn an_unknown_rule_is_an_error_for_a_listed_key_too() {
    let (limiter, _) = limiter([Rule::per_minute("api", 2)]);
    limiter.allow_list().add("good").unwrap();
    limiter.deny_list().add("bad").unwrap();
    assert!(limiter.check("good", "apy").await.is_err());
    assert!(limiter.check("bad", "apy").await.is_err());
    assert!(limiter.check_cost("good", "api", 0).await.is_err());
}
