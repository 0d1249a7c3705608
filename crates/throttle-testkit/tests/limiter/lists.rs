//! Checks of keys on the allow list and the deny list.

use std::net::{IpAddr, Ipv4Addr};

use throttle_core::{Key, Limiter, ListMatch, Rule};

use crate::{MICRO, SECOND, limiter};

const fn v4(octets: [u8; 4]) -> IpAddr {
    let [a, b, c, d] = octets;
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

async fn is_allowed<'k>(limiter: &Limiter, key: impl Into<Key<'k>>) -> bool {
    limiter.check(key, "api").await.unwrap().is_allowed()
}

#[tokio::test]
async fn a_key_on_the_allow_list_is_allowed_and_not_charged() {
    let (limiter, _) = limiter([Rule::per_minute("api", 2)]);
    limiter.allow_list().add("10.0.0.0/8").unwrap();
    for _ in 0..10 {
        let decision = limiter.check_cost(v4([10, 1, 2, 3]), "api", 2).await.unwrap();
        assert!(decision.is_allowed() && !decision.is_blocked());
        assert_eq!((decision.remaining(), decision.listed()), (2, Some(ListMatch::Allowed)));
        assert!(decision.receipt().is_none() && decision.reset_after().is_zero());
    }
    assert!(limiter.allow_list().remove("10.0.0.0/8").unwrap());
    let decision = limiter.check(v4([10, 1, 2, 3]), "api").await.unwrap();
    assert_eq!(
        (decision.remaining(), decision.listed()),
        (1, None),
        "requests on the allow list must not be charged"
    );
}

#[tokio::test]
async fn a_key_on_the_deny_list_is_denied_and_not_charged() {
    let (limiter, _) = limiter([Rule::per_minute("api", 2), Rule::per_hour("hour", 9)]);
    limiter.deny_list().add("user:42").unwrap();
    let decisions = limiter.check_all("user:42", &["api", "hour"]).await.unwrap();
    assert!(!decisions.is_allowed() && decisions.all().len() == 2);
    let decision = decisions.most_restrictive();
    assert!(decision.is_blocked());
    assert_eq!((decision.remaining(), decision.listed()), (0, Some(ListMatch::Denied)));
    assert_eq!(decision.retry_after(), None, "the entry is permanent");
    assert!(!limiter.peek("user:42", "api").await.unwrap().is_allowed());
    assert!(limiter.check("user:421", "api").await.unwrap().is_allowed());

    assert!(limiter.deny_list().remove("user:42").unwrap());
    assert_eq!(limiter.check("user:42", "api").await.unwrap().remaining(), 1);
}

#[tokio::test]
async fn a_key_on_both_lists_is_denied() {
    let (limiter, _) = limiter([Rule::per_minute("api", 2)]);
    limiter.allow_list().add("10.0.0.0/8").unwrap();
    limiter.deny_list().add("10.1.0.0/16").unwrap();
    assert!(!is_allowed(&limiter, v4([10, 1, 2, 3])).await);
    assert!(is_allowed(&limiter, v4([10, 2, 2, 3])).await);
    limiter.allow_list().add("10.1.2.3").unwrap();
    assert!(
        !is_allowed(&limiter, v4([10, 1, 2, 3])).await,
        "the deny list takes precedence over a more specific allow list entry"
    );
}

#[tokio::test]
async fn a_temporary_entry_reports_its_end_and_expires_then() {
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
async fn the_allow_list_never_parses_text_as_an_address() {
    for text in ["10.0.0.1", "10.0.0.1/anything", "10.0.0.1/8", "10.0.0.1/32", "::ffff:10.0.0.1"] {
        let (limiter, _) = limiter([Rule::per_minute("api", 1)]);
        limiter.allow_list().add("10.0.0.0/8").unwrap();
        limiter.allow_list().add("10.0.0.1").unwrap();
        let keys = [Key::from(text), Key::from(text.to_owned()), Key::from(text).opaque()];
        for (n, key) in keys.iter().enumerate() {
            let decision = limiter.check(key, "api").await.unwrap();
            assert_eq!((decision.is_allowed(), decision.listed()), (n == 0, None), "{text}");
        }
    }
}

#[tokio::test]
async fn the_deny_list_parses_text_as_an_address_unless_it_is_opaque() {
    let (limiter, _) = limiter([Rule::per_minute("api", 1_000)]);
    limiter.deny_list().add("10.0.0.0/8").unwrap();
    limiter.deny_list().add("2001:db8::/32").unwrap();
    for text in ["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1/8", "2001:db8:1::/64"] {
        assert!(!is_allowed(&limiter, text).await, "{text}");
        assert!(is_allowed(&limiter, Key::from(text).opaque()).await, "{text}");
    }
    for text in ["10.0.0.1/anything", "10.0.0.1/33", "10.0.0.1/", "10.0.0.1:80", "2001:db8::/129"] {
        assert!(is_allowed(&limiter, text).await, "{text}");
    }
}

#[tokio::test]
async fn decisions_of_lists_are_counted_but_are_not_violations() {
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
