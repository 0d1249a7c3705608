//! Limits of requests in flight.

use http::{Method, Response};
use throttle_http::RejectionReason;

use crate::http::{
    answer::{Answer, allowed, on_deny_list, rejected},
    case::{Case, ask_by, get, get_from, get_from_nowhere},
    cases::setup::{api, every_field, fixed, modern, secs},
};

const POLICY: &str = r#""uploads";q=2;qu="concurrent-requests""#;

pub(super) fn cases() -> Vec<Case> {
    vec![
        alone(),
        with_a_rule(),
        two_limits(),
        in_a_dry_run(),
        of_clients_on_lists(),
        exempt(),
        with_a_custom_rejection(),
        without_a_key(),
    ]
}

fn alone() -> Case {
    let left = |left: u64| {
        let limits = format!(r#""uploads";r={left}"#);
        allowed().draft(POLICY, &limits).legacy_without_reset(2, left)
    };
    let full = rejected(&["uploads"]).draft(POLICY, r#""uploads";r=0"#).legacy_without_reset(2, 0);
    Case::new("at most the limit is in flight, and a rejection has no Retry-After", every_field())
        .rule(api(1)) // not applied, because the options name only the limit of requests in flight
        .concurrency("uploads", 2)
        .ask(get(), left(1))
        .ask(get(), left(1))
        .begin("192.0.2.1")
        .ask(get(), left(0))
        .begin("192.0.2.1")
        .ask(get(), full.clone())
        .ask(get_from("192.0.2.2"), left(1))
        .advance(secs(3600))
        .ask(get(), full)
        .end()
        .ask(get(), left(0))
}

fn with_a_rule() -> Case {
    let policy = format!(r#""api";q=3;w=60, {POLICY}"#);
    let both = |api: u64, uploads: u64| {
        allowed().draft(&policy, &format!(r#""api";r={api};t=60, "uploads";r={uploads}"#))
    };
    let no_permit = rejected(&["uploads"]).draft(POLICY, r#""uploads";r=0"#);
    let no_rate =
        rejected(&["api"]).draft(r#""api";q=3;w=60"#, r#""api";r=0;t=60"#).retry_after(60);
    Case::new("a request gets both its permit and its charge, or neither", modern().rule("api"))
        .rule(api(3))
        .concurrency("uploads", 2)
        .ask(get(), both(2, 1))
        .begin("192.0.2.1")
        .begin("192.0.2.1")
        .ask(get(), no_permit.clone())
        .ask(get(), no_permit)
        .end()
        .ask(get(), both(1, 0))
        .ask(get(), both(0, 0))
        .ask(get(), no_rate.clone())
        .ask(get(), no_rate)
        // The requests that the rule rejected have released their permits.
        .advance(secs(60))
        .ask(get(), both(2, 0))
}

fn two_limits() -> Case {
    let few = r#""few";q=1;qu="concurrent-requests""#;
    let policy = format!("{POLICY}, {few}");
    let full = rejected(&["few"]).draft(few, r#""few";r=0"#);
    Case::new("the permit of one limit is released if another limit is full", modern())
        .concurrency("uploads", 2)
        .concurrency("few", 1)
        .ask(get(), allowed().draft(&policy, r#""uploads";r=1, "few";r=0"#))
        .begin("192.0.2.1")
        .ask(get(), full.clone())
        .ask(get(), full)
        .end()
        .ask(get(), allowed().draft(&policy, r#""uploads";r=1, "few";r=0"#))
}

fn in_a_dry_run() -> Case {
    let policy = format!(r#""api";q=9;w=60, {POLICY}"#);
    let reported = |limits: &str| allowed().draft(&policy, limits);
    Case::new(
        "a dry run allows requests without a permit, and marks them",
        modern().rule("api").dry_run(),
    )
    .rule(api(9))
    .concurrency("uploads", 2)
    .begin("192.0.2.1")
    .ask(get(), reported(r#""api";r=8;t=60, "uploads";r=0"#))
    .begin("192.0.2.1")
    .ask(get(), allowed().draft(POLICY, r#""uploads";r=0"#).dry_run())
    .end()
    .ask(get(), reported(r#""api";r=7;t=60, "uploads";r=0"#))
}

fn of_clients_on_lists() -> Case {
    let denied = rejected(&["uploads"]).draft(POLICY, r#""uploads";r=0;t=30"#).retry_after(30);
    Case::new("clients on the allow list or the deny list hold no permit", modern())
        .concurrency("uploads", 2)
        .change(|limiter| limiter.allow_list().add("192.0.2.1").unwrap())
        .change(|limiter| limiter.deny_list().add("192.0.2.2").unwrap())
        .change(|limiter| limiter.deny_list().add_for("192.0.2.3", secs(30)).unwrap())
        .begin("192.0.2.1")
        .begin("192.0.2.1")
        .ask(get(), allowed())
        .ask(get_from("192.0.2.2"), on_deny_list())
        .ask(get_from("192.0.2.3"), denied)
}

fn exempt() -> Case {
    let options = modern().methods([Method::POST]);
    Case::new("an exempt request holds no permit", options)
        .concurrency("uploads", 2)
        .begin("192.0.2.1")
        .begin("192.0.2.1")
        .ask(get(), allowed())
        .ask(ask_by(Method::POST), rejected(&["uploads"]).draft(POLICY, r#""uploads";r=0"#))
}

fn with_a_custom_rejection() -> Case {
    let options = modern().on_rejection(|rejection| {
        let body = match rejection.reason() {
            RejectionReason::Concurrency => {
                format!("{} at once", rejection.decision().unwrap().limit())
            }
            _ => "slower".to_owned(),
        };
        Response::builder().status(503).header("content-type", "text/plain").body(body).unwrap()
    });
    let full =
        Answer::new(503, "text/plain", "2 at once").not_stored().draft(POLICY, r#""uploads";r=0"#);
    Case::new("a custom rejection can distinguish permits from rates", options.rule("slow"))
        .rule(fixed("slow", 1, secs(1)))
        .concurrency("uploads", 2)
        .begin("192.0.2.1")
        .begin("192.0.2.1")
        .ask(get(), full)
}

fn without_a_key() -> Case {
    let detail = "The server is not configured to tell clients apart.";
    let answer = crate::http::answer::problem(500, "Internal Server Error", detail);
    Case::new("a request without a key gets no permit", modern())
        .concurrency("uploads", 2)
        .ask(get_from_nowhere(), answer)
        .ask(get(), allowed().draft(POLICY, r#""uploads";r=1"#))
}
