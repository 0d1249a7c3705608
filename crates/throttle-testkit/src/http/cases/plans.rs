//! Rules that are picked for each request.

use throttle_core::Key;
use throttle_http::{
    Options, RequestHead,
    identity::{ClientIp, Header, OnMissing},
};

use crate::http::{
    answer::{Answer, passed, problem, refused},
    case::{Case, get, get_path, with},
    cases::setup::{fixed, modern, secs},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        a_plan_for_each_key(),
        plans_beside_what_applies_to_all(),
        several_or_none(),
        a_plan_that_is_not_there(),
    ]
}

fn by_key() -> Options {
    modern().key(Header::new("x-api-key").missing(OnMissing::Anonymous))
}

/// Says by the first letter of the key what was paid for.
fn plan(key: &Key<'_>, _: &RequestHead<'_>) -> &'static str {
    if key.as_bytes().starts_with(b"p") { "pro" } else { "free" }
}

fn plans(title: &'static str, options: Options) -> Case {
    Case::new(title, options)
        .rule(fixed("free", 1, secs(60)))
        .rule(fixed("pro", 2, secs(60)))
        .rule(fixed("all", 3, secs(3600)))
}

fn free(answer: Answer) -> Answer {
    answer.draft(r#""free";q=1;w=60"#, r#""free";r=0;t=60"#)
}

fn pro(answer: Answer, left: u64) -> Answer {
    answer.draft(r#""pro";q=2;w=60"#, &format!(r#""pro";r={left};t=60"#))
}

fn a_plan_for_each_key() -> Case {
    let of = |key| with(get(), "x-api-key", key);
    let options = by_key().declare_rules(["free", "pro"]).select_rules(plan);
    plans("the rule is picked by the key, and no other is asked", options)
        .ask(of("fay"), free(passed()))
        .ask(of("pat"), pro(passed(), 1))
        .ask(of("fay"), free(refused(&["free"])).retry_after(60))
        .ask(of("pat"), pro(passed(), 0))
        .ask(of("pat"), pro(refused(&["pro"]), 0).retry_after(60))
        .ask(of("fox"), free(passed()))
        .ask(get(), free(passed()))
}

fn plans_beside_what_applies_to_all() -> Case {
    let both = |free: u64, all: u64| {
        let policy = r#""all";q=3;w=3600, "free";q=1;w=60"#;
        move |answer: Answer| {
            answer.draft(policy, &format!(r#""all";r={all};t=3600, "free";r={free};t=60"#))
        }
    };
    // What is picked twice, or picked and named, is asked once.
    let options = by_key().rule("all").select_rules(|key, head| [plan(key, head), "all", "free"]);
    plans("what is picked applies beside what is named, all or nothing", options)
        .ask(get(), both(0, 2)(passed()))
        .ask(get(), both(0, 2)(refused(&["free"])).retry_after(60))
        .change(|limiter| {
            limiter.remove_rule("free");
            limiter.add_rule(fixed("free", 9, secs(60))).unwrap();
        })
        .ask(
            get(),
            passed().draft(
                r#""all";q=3;w=3600, "free";q=9;w=60"#,
                r#""all";r=1;t=3600, "free";r=7;t=60"#,
            ),
        )
}

fn several_or_none() -> Case {
    let pick = |_: &Key<'_>, head: &RequestHead<'_>| match head.path() {
        "/free" => Some("free".to_owned()),
        _ => None,
    };
    plans("a request for which there is no rule passes unlimited", modern().select_rules(pick))
        .ask(get_path("/free"), free(passed()))
        .ask(get_path("/"), passed())
        .ask(get_path("/"), passed())
        .ask(get_path("/free"), free(refused(&["free"])).retry_after(60))
}

fn a_plan_that_is_not_there() -> Case {
    let title =
        "a rule that is picked and not there is the service's mistake, for that request alone";
    let detail = "The server is not configured to limit this request.";
    let answer = problem(500, "Internal Server Error", detail);
    let pick = |_: &Key<'_>, head: &RequestHead<'_>| match head.header("x-plan") {
        Some(plan) => plan.to_owned(),
        None => "free".to_owned(),
    };
    plans(title, modern().key(ClientIp::new()).select_rules(pick))
        .ask(with(get(), "x-plan", "gold"), answer.clone())
        .ask(get(), free(passed()))
        .ask(with(get(), "x-plan", ""), answer.clone())
        .ask(with(get(), "x-plan", "x".repeat(5000)), answer)
        .ask(get(), free(refused(&["free"])).retry_after(60))
}
