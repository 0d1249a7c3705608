//! How much passes, and what it is told.

use std::time::Duration;

use throttle_core::{Algorithm, MAX_LIMIT, MAX_WINDOW, Rule};
use throttle_http::RequestHead;

use crate::http::{
    answer::{passed, refused},
    case::{Case, get, get_from, get_path},
    cases::setup::{api, every_field, fixed, modern, secs},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        a_hundred(),
        a_sliding_window(),
        two_rules(),
        a_denial_of_one_of_two(),
        a_denial_of_both(),
        rules_that_are_named(),
        a_rate(),
        waits_are_rounded_up(),
        a_cost(),
        a_cost_above_the_capacity(),
        a_block(),
        a_rule_that_is_replaced(),
        a_bucket(),
        the_greatest_numbers(),
    ]
}

fn a_hundred() -> Case {
    let policy = r#""api";q=100;w=60"#;
    let mut case = Case::new("a hundred requests pass, the next is refused", every_field());
    case = case.rule(api(100));
    for left in (0..100).rev() {
        let answer = passed().draft(policy, &format!(r#""api";r={left};t=60"#));
        case = case.ask(get(), answer.legacy(100, left, 60));
    }
    let refused = refused(&["api"]).draft(policy, r#""api";r=0;t=60"#);
    let other = passed().draft(policy, r#""api";r=99;t=60"#).legacy(100, 99, 60);
    case.ask(get(), refused.legacy(100, 0, 60).retry_after(60))
        .ask(get_from("192.0.2.2"), other.clone())
        .advance(secs(60))
        .ask(get(), other)
}

fn a_sliding_window() -> Case {
    let policy = r#""api";q=100;w=60"#;
    let title = "a refusal of the sliding window names the moment when the last one fades";
    let mut case = Case::new(title, modern()).rule(Rule::per_minute("api", 100));
    for left in (0..100).rev() {
        case = case.ask(get(), passed().draft(policy, &format!(r#""api";r={left};t=120"#)));
    }
    // 100·(60 − e) + 60 ≤ 100·60 from e = 0.6 s of the next window on.
    let refused = refused(&["api"]).draft(policy, r#""api";r=0;t=61"#).retry_after(61);
    case.ask(get(), refused)
        .advance(Duration::from_micros(60_600_000))
        .ask(get(), passed().draft(policy, r#""api";r=0;t=120"#))
}

fn two_rules() -> Case {
    let burst = Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20);
    let policy = r#""burst";q=20;w=2, "daily";q=10000;w=86400"#;
    Case::new("the fields list every rule, the legacy ones the least remaining", every_field())
        .rule(burst)
        .rule(fixed("daily", 10_000, secs(86_400)))
        .ask(
            get(),
            passed().draft(policy, r#""burst";r=19;t=1, "daily";r=9999;t=86400"#).legacy(20, 19, 1),
        )
}

fn a_denial_of_one_of_two() -> Case {
    let policy = r#""hour";q=1;w=3600, "minute";q=5;w=60"#;
    Case::new("a rule that admits is not charged, nor violated, when another denies", every_field())
        .rule(fixed("hour", 1, secs(3600)))
        .rule(fixed("minute", 5, secs(60)))
        .ask(
            get(),
            passed().draft(policy, r#""hour";r=0;t=3600, "minute";r=4;t=60"#).legacy(1, 0, 3600),
        )
        .advance(secs(10))
        .ask(
            get(),
            refused(&["hour"])
                .draft(policy, r#""hour";r=0;t=3590, "minute";r=4;t=50"#)
                .legacy(1, 0, 3590)
                .retry_after(3590),
        )
}

fn a_denial_of_both() -> Case {
    let policy = r#""hour";q=1;w=3600, "minute";q=1;w=60"#;
    let fields = r#""hour";r=0;t=3600, "minute";r=0;t=60"#;
    Case::new("a refusal by two rules names both, and the longer wait", every_field())
        .rule(fixed("minute", 1, secs(60)))
        .rule(fixed("hour", 1, secs(3600)))
        .ask(get(), passed().draft(policy, fields).legacy(1, 0, 3600))
        .ask(
            get(),
            refused(&["hour", "minute"]).draft(policy, fields).legacy(1, 0, 3600).retry_after(3600),
        )
}

fn rules_that_are_named() -> Case {
    let policy = r#""b";q=2;w=60, "a";q=2;w=60"#;
    Case::new("only the rules that are named apply, in that order", modern().rule("b").rule("a"))
        .rule(fixed("a", 2, secs(60)))
        .rule(fixed("b", 2, secs(60)))
        .rule(fixed("c", 1, secs(60)))
        .ask(get(), passed().draft(policy, r#""b";r=1;t=60, "a";r=1;t=60"#))
        .ask(get(), passed().draft(policy, r#""b";r=0;t=60, "a";r=0;t=60"#))
}

fn a_rate() -> Case {
    let policy = r#""login";q=1;w=30"#;
    Case::new("a rate is a rule of its own", modern().limit("login", "1/30s"))
        .rule(api(100))
        .ask(get(), passed().draft(policy, r#""login";r=0;t=60"#))
        // The only one fades with the end of the next window.
        .ask(get(), refused(&["login"]).draft(policy, r#""login";r=0;t=60"#).retry_after(60))
}

fn waits_are_rounded_up() -> Case {
    let policy = r#""api";q=1;w=60"#;
    let refused = |secs| {
        let limits = format!(r#""api";r=0;t={secs}"#);
        refused(&["api"]).draft(policy, &limits).legacy(1, 0, secs).retry_after(secs)
    };
    let first = passed().draft(policy, r#""api";r=0;t=60"#).legacy(1, 0, 60);
    Case::new(
        "a wait of a microsecond is a second, none is nought, all fields agree",
        every_field(),
    )
    .rule(api(1))
    .ask(get(), first.clone())
    .advance(Duration::from_micros(1))
    .ask(get(), refused(60))
    .advance(Duration::from_micros(29_999_998))
    .ask(get(), refused(31))
    .advance(Duration::from_micros(1))
    .ask(get(), refused(30))
    .advance(Duration::from_micros(29_999_999))
    .ask(get(), refused(1))
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
    let refused = refused(&["api"]).draft(policy, r#""api";r=1;t=60"#).retry_after(60);
    Case::new("a request costs what the function says, and nothing at 0", modern().cost(cost))
        .rule(api(5).cost(2))
        .ask(get_path("/report"), passed().draft(policy, r#""api";r=2;t=60"#))
        .ask(get_path("/health"), passed())
        .ask(get(), passed().draft(policy, r#""api";r=1;t=60"#))
        .ask(get_path("/report"), refused)
        .ask(get_path("/health"), passed())
        .ask(get(), passed().draft(policy, r#""api";r=0;t=60"#))
}

fn a_cost_above_the_capacity() -> Case {
    let policy = r#""api";q=10;w=60"#;
    let refused = refused(&["api"]).draft(policy, r#""api";r=10"#).legacy_without_reset(10, 10);
    Case::new("where no wait helps there is no Retry-After", every_field().cost(11))
        .rule(api(10))
        .ask(get(), refused.clone())
        .ask(get(), refused)
}

fn a_block() -> Case {
    let policy = r#""api";q=1;w=60"#;
    let refused = |secs: u64| {
        let limits = format!(r#""api";r=0;t={secs}"#);
        refused(&["api"]).draft(policy, &limits).retry_after(secs)
    };
    let passed = passed().draft(policy, r#""api";r=0;t=60"#);
    Case::new("a block tells how long it lasts yet", modern())
        .rule(api(1).block(secs(900)))
        .ask(get(), passed.clone())
        .ask(get(), refused(900))
        .advance(secs(60))
        .ask(get(), refused(840))
        .advance(secs(840))
        .ask(get(), passed)
}

fn a_rule_that_is_replaced() -> Case {
    Case::new("the fields and the refusal follow a rule that is replaced", every_field())
        .rule(api(1))
        .ask(get(), passed().draft(r#""api";q=1;w=60"#, r#""api";r=0;t=60"#).legacy(1, 0, 60))
        .change(|limiter| {
            limiter.replace_rule(api(3)).unwrap();
        })
        .ask(get(), passed().draft(r#""api";q=3;w=60"#, r#""api";r=1;t=60"#).legacy(3, 1, 60))
        .change(|limiter| {
            assert!(limiter.remove_rule("api"));
            limiter.add_rule(fixed("web", 1, secs(30))).unwrap();
        })
        .ask(get(), passed().draft(r#""web";q=1;w=30"#, r#""web";r=0;t=30"#).legacy(1, 0, 30))
        .ask(
            get(),
            refused(&["web"])
                .draft(r#""web";q=1;w=30"#, r#""web";r=0;t=30"#)
                .legacy(1, 0, 30)
                .retry_after(30),
        )
}

fn a_bucket() -> Case {
    // 7 tokens at 3 in 10 s are back in 23.3 s; one of them in 3.3 s.
    let rule = Rule::new("api", 3, secs(10)).algorithm(Algorithm::TokenBucket).burst(7);
    let policy = r#""api";q=7;w=24"#;
    Case::new("the quota of a bucket is its burst, its window the time to refill", every_field())
        .rule(rule.cost(4))
        .ask(get(), passed().draft(policy, r#""api";r=3;t=14"#).legacy(7, 3, 14))
        .ask(
            get(),
            refused(&["api"]).draft(policy, r#""api";r=3;t=4"#).legacy(7, 3, 4).retry_after(4),
        )
        .ask(get_from("192.0.2.2"), passed().draft(policy, r#""api";r=3;t=14"#).legacy(7, 3, 14))
}

fn the_greatest_numbers() -> Case {
    let policy = r#""api";q=999999999999999;w=315360000"#;
    // The window that began in 2019, in 3650-day steps from the epoch, ends in 2029.
    let limits = r#""api";r=999999999999998;t=124934400"#;
    Case::new("the greatest limit and window can be told", every_field())
        .rule(fixed("api", MAX_LIMIT, MAX_WINDOW))
        .ask(
            get(),
            passed().draft(policy, limits).legacy(MAX_LIMIT, MAX_LIMIT - 1, 124_934_400_u64),
        )
}
