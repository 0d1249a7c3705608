//! Allowed and rejected requests, and the fields that report them.

use std::time::Duration;

use throttle_core::{Algorithm, MAX_LIMIT, MAX_WINDOW, Rule};
use throttle_http::RequestHead;

use crate::http::{
    answer::{allowed, rejected},
    case::{Case, get, get_from, get_path},
    cases::setup::{api, every_field, fixed, modern, secs},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        a_hundred(),
        a_sliding_window(),
        two_rules(),
        a_denial_by_one_of_two(),
        a_denial_by_both(),
        named_rules(),
        a_rate(),
        waits_are_rounded_up(),
        a_cost(),
        a_cost_above_the_capacity(),
        a_block(),
        a_replaced_rule(),
        a_bucket(),
        the_largest_numbers(),
    ]
}

fn a_hundred() -> Case {
    let policy = r#""api";q=100;w=60"#;
    let mut case = Case::new("a hundred requests are allowed, the next is rejected", every_field());
    case = case.rule(api(100));
    for left in (0..100).rev() {
        let answer = allowed().draft(policy, &format!(r#""api";r={left};t=60"#));
        case = case.ask(get(), answer.legacy(100, left, 60));
    }
    let rejected = rejected(&["api"]).draft(policy, r#""api";r=0;t=60"#);
    let other = allowed().draft(policy, r#""api";r=99;t=60"#).legacy(100, 99, 60);
    case.ask(get(), rejected.legacy(100, 0, 60).retry_after(60))
        .ask(get_from("192.0.2.2"), other.clone())
        .advance(secs(60))
        .ask(get(), other)
}

fn a_sliding_window() -> Case {
    let policy = r#""api";q=100;w=60"#;
    let title = "the retry-after of the sliding window is exact";
    let mut case = Case::new(title, modern()).rule(Rule::per_minute("api", 100));
    for left in (0..100).rev() {
        case = case.ask(get(), allowed().draft(policy, &format!(r#""api";r={left};t=120"#)));
    }
    // 100·(60 − e) + 60 ≤ 100·60 if at least e = 0.6 s of the next window have elapsed.
    let rejected = rejected(&["api"]).draft(policy, r#""api";r=0;t=61"#).retry_after(61);
    case.ask(get(), rejected)
        .advance(Duration::from_micros(60_600_000))
        .ask(get(), allowed().draft(policy, r#""api";r=0;t=120"#))
}

fn two_rules() -> Case {
    let burst = Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20);
    let policy = r#""burst";q=20;w=2, "daily";q=10000;w=86400"#;
    Case::new(
        "the draft fields list every rule, the legacy fields the least remaining",
        every_field(),
    )
    .rule(burst)
    .rule(fixed("daily", 10_000, secs(86_400)))
    .ask(
        get(),
        allowed().draft(policy, r#""burst";r=19;t=1, "daily";r=9999;t=86400"#).legacy(20, 19, 1),
    )
}

fn a_denial_by_one_of_two() -> Case {
    let policy = r#""hour";q=1;w=3600, "minute";q=5;w=60"#;
    Case::new("when one rule denies, another rule is neither charged nor violated", every_field())
        .rule(fixed("hour", 1, secs(3600)))
        .rule(fixed("minute", 5, secs(60)))
        .ask(
            get(),
            allowed().draft(policy, r#""hour";r=0;t=3600, "minute";r=4;t=60"#).legacy(1, 0, 3600),
        )
        .advance(secs(10))
        .ask(
            get(),
            rejected(&["hour"])
                .draft(policy, r#""hour";r=0;t=3590, "minute";r=4;t=50"#)
                .legacy(1, 0, 3590)
                .retry_after(3590),
        )
}

fn a_denial_by_both() -> Case {
    let policy = r#""hour";q=1;w=3600, "minute";q=1;w=60"#;
    let fields = r#""hour";r=0;t=3600, "minute";r=0;t=60"#;
    Case::new("a rejection by two rules names both and has the longer wait", every_field())
        .rule(fixed("minute", 1, secs(60)))
        .rule(fixed("hour", 1, secs(3600)))
        .ask(get(), allowed().draft(policy, fields).legacy(1, 0, 3600))
        .ask(
            get(),
            rejected(&["hour", "minute"])
                .draft(policy, fields)
                .legacy(1, 0, 3600)
                .retry_after(3600),
        )
}

fn named_rules() -> Case {
    let policy = r#""b";q=2;w=60, "a";q=2;w=60"#;
    Case::new("only the named rules apply, in that order", modern().rule("b").rule("a"))
        .rule(fixed("a", 2, secs(60)))
        .rule(fixed("b", 2, secs(60)))
        .rule(fixed("c", 1, secs(60)))
        .ask(get(), allowed().draft(policy, r#""b";r=1;t=60, "a";r=1;t=60"#))
        .ask(get(), allowed().draft(policy, r#""b";r=0;t=60, "a";r=0;t=60"#))
}

fn a_rate() -> Case {
    let policy = r#""login";q=1;w=30"#;
    Case::new("`limit` adds a rule", modern().limit("login", "1/30s"))
        .rule(api(100))
        .ask(get(), allowed().draft(policy, r#""login";r=0;t=60"#))
        // The one request counts until the end of the next window.
        .ask(get(), rejected(&["login"]).draft(policy, r#""login";r=0;t=60"#).retry_after(60))
}

fn waits_are_rounded_up() -> Case {
    let policy = r#""api";q=1;w=60"#;
    let rejected = |secs| {
        let limits = format!(r#""api";r=0;t={secs}"#);
        rejected(&["api"]).draft(policy, &limits).legacy(1, 0, secs).retry_after(secs)
    };
    let first = allowed().draft(policy, r#""api";r=0;t=60"#).legacy(1, 0, 60);
    Case::new("waits are rounded up to seconds, equally in all fields", every_field())
        .rule(api(1))
        .ask(get(), first.clone())
        .advance(Duration::from_micros(1))
        .ask(get(), rejected(60))
        .advance(Duration::from_micros(29_999_998))
        .ask(get(), rejected(31))
        .advance(Duration::from_micros(1))
        .ask(get(), rejected(30))
        .advance(Duration::from_micros(29_999_999))
        .ask(get(), rejected(1))
        .advance(Duration::from_micros(1))
        .ask(get(), first)
}

fn a_cost() -> Case {
    let cost = |head: &RequestHead<'_>| match head.path() {
        "/report" => 3,
        "/health" => 0,
        _ => 1,
    };
    let policy = r#""api";q=5;w=60"#;
    let rejected = rejected(&["api"]).draft(policy, r#""api";r=1;t=60"#).retry_after(60);
    Case::new("a function sets the cost, and a cost of 0 is not charged", modern().cost(cost))
        .rule(api(5).cost(2))
        .ask(get_path("/report"), allowed().draft(policy, r#""api";r=2;t=60"#))
        .ask(get_path("/health"), allowed())
        .ask(get(), allowed().draft(policy, r#""api";r=1;t=60"#))
        .ask(get_path("/report"), rejected)
        .ask(get_path("/health"), allowed())
        .ask(get(), allowed().draft(policy, r#""api";r=0;t=60"#))
}

fn a_cost_above_the_capacity() -> Case {
    let policy = r#""api";q=10;w=60"#;
    let rejected = rejected(&["api"]).draft(policy, r#""api";r=10"#).legacy_without_reset(10, 10);
    Case::new("a request that can never be allowed gets no Retry-After", every_field().cost(11))
        .rule(api(10))
        .ask(get(), rejected.clone())
        .ask(get(), rejected)
}

fn a_block() -> Case {
    let policy = r#""api";q=1;w=60"#;
    let rejected = |secs: u64| {
        let limits = format!(r#""api";r=0;t={secs}"#);
        rejected(&["api"]).draft(policy, &limits).retry_after(secs)
    };
    let allowed = allowed().draft(policy, r#""api";r=0;t=60"#);
    Case::new("a block reports its remaining time", modern())
        .rule(api(1).block(secs(900)))
        .ask(get(), allowed.clone())
        .ask(get(), rejected(900))
        .advance(secs(60))
        .ask(get(), rejected(840))
        .advance(secs(840))
        .ask(get(), allowed)
}

fn a_replaced_rule() -> Case {
    Case::new("fields and rejections use a replaced rule at once", every_field())
        .rule(api(1))
        .ask(get(), allowed().draft(r#""api";q=1;w=60"#, r#""api";r=0;t=60"#).legacy(1, 0, 60))
        .change(|limiter| {
            limiter.replace_rule(api(3)).unwrap();
        })
        .ask(get(), allowed().draft(r#""api";q=3;w=60"#, r#""api";r=1;t=60"#).legacy(3, 1, 60))
        .change(|limiter| {
            assert!(limiter.remove_rule("api"));
            limiter.add_rule(fixed("web", 1, secs(30))).unwrap();
        })
        .ask(get(), allowed().draft(r#""web";q=1;w=30"#, r#""web";r=0;t=30"#).legacy(1, 0, 30))
        .ask(
            get(),
            rejected(&["web"])
                .draft(r#""web";q=1;w=30"#, r#""web";r=0;t=30"#)
                .legacy(1, 0, 30)
                .retry_after(30),
        )
}

fn a_bucket() -> Case {
    // At 3 in 10 s, 7 tokens are refilled in 23.3 s, and one token in 3.3 s.
    let rule = Rule::new("api", 3, secs(10)).algorithm(Algorithm::TokenBucket).burst(7);
    let policy = r#""api";q=7;w=24"#;
    Case::new("the quota of a bucket is its burst, the window its refill time", every_field())
        .rule(rule.cost(4))
        .ask(get(), allowed().draft(policy, r#""api";r=3;t=14"#).legacy(7, 3, 14))
        .ask(
            get(),
            rejected(&["api"]).draft(policy, r#""api";r=3;t=4"#).legacy(7, 3, 4).retry_after(4),
        )
        .ask(get_from("192.0.2.2"), allowed().draft(policy, r#""api";r=3;t=14"#).legacy(7, 3, 14))
}

fn the_largest_numbers() -> Case {
    let policy = r#""api";q=999999999999999;w=315360000"#;
    // The window that began in 2019, in 3650-day steps from the epoch, ends in 2029.
    let limits = r#""api";r=999999999999998;t=124934400"#;
    Case::new("the largest limit and window are reported", every_field())
        .rule(fixed("api", MAX_LIMIT, MAX_WINDOW))
        .ask(
            get(),
            allowed().draft(policy, limits).legacy(MAX_LIMIT, MAX_LIMIT - 1, 124_934_400_u64),
        )
}
