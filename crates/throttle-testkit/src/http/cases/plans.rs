//! Rules that are selected for each request.

use throttle_core::Key;
use throttle_http::{
    Options, RequestHead,
    identity::{ClientIp, Header, OnMissing},
};

use crate::http::{
    answer::{Answer, allowed, problem, rejected},
    case::{Case, get, get_path, with},
    cases::setup::{fixed, modern, secs},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        a_plan_for_each_key(),
        plans_with_rules_for_all(),
        plans_for_some_requests(),
        an_unknown_plan(),
    ]
}

fn by_key() -> Options {
    modern().key(Header::new("x-api-key").missing(OnMissing::Anonymous))
}

/// Returns the plan of a key, by its first letter.
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
    plans("the rule is selected by the key, and no other rule is checked", options)
        .ask(of("fay"), free(allowed()))
        .ask(of("pat"), pro(allowed(), 1))
        .ask(of("fay"), free(rejected(&["free"])).retry_after(60))
        .ask(of("pat"), pro(allowed(), 0))
        .ask(of("pat"), pro(rejected(&["pro"]), 0).retry_after(60))
        .ask(of("fox"), free(allowed()))
        .ask(get(), free(allowed()))
}

fn plans_with_rules_for_all() -> Case {
    let both = |free: u64, all: u64| {
        let policy = r#""all";q=3;w=3600, "free";q=1;w=60"#;
        move |answer: Answer| {
            answer.draft(policy, &format!(r#""all";r={all};t=3600, "free";r={free};t=60"#))
        }
    };
    // A rule that is selected twice, or selected and named, is checked once.
    let options = by_key().rule("all").select_rules(|key, head| [plan(key, head), "all", "free"]);
    plans("selected and named rules apply together", options)
        .ask(get(), both(0, 2)(allowed()))
        .ask(get(), both(0, 2)(rejected(&["free"])).retry_after(60))
        .change(|limiter| {
            limiter.remove_rule("free");
            limiter.add_rule(fixed("free", 9, secs(60))).unwrap();
        })
        .ask(
            get(),
            allowed().draft(
                r#""all";q=3;w=3600, "free";q=9;w=60"#,
                r#""all";r=1;t=3600, "free";r=7;t=60"#,
            ),
        )
}

fn plans_for_some_requests() -> Case {
    let pick = |_: &Key<'_>, head: &RequestHead<'_>| match head.path() {
        "/free" => Some("free".to_owned()),
        _ => None,
    };
    plans("a request without a selected rule is not limited", modern().select_rules(pick))
        .ask(get_path("/free"), free(allowed()))
        .ask(get_path("/"), allowed())
        .ask(get_path("/"), allowed())
        .ask(get_path("/free"), free(rejected(&["free"])).retry_after(60))
}

fn an_unknown_plan() -> Case {
    let title = "an unknown selected rule is a server error, only for that request";
    let detail = "The server is not configured to limit this request.";
    let answer = problem(500, "Internal Server Error", detail);
    let pick = |_: &Key<'_>, head: &RequestHead<'_>| match head.header("x-plan") {
        Some(plan) => plan.to_owned(),
        None => "free".to_owned(),
    };
    plans(title, modern().key(ClientIp::new()).select_rules(pick))
        .ask(with(get(), "x-plan", "gold"), answer.clone())
        .ask(get(), free(allowed()))
        .ask(with(get(), "x-plan", ""), answer.clone())
        .ask(with(get(), "x-plan", "x".repeat(5000)), answer)
        .ask(get(), free(rejected(&["free"])).retry_after(60))
}
