//! Rejections that the service answers itself, each by its reason.

use std::time::Duration;

use http::{Method, Response, StatusCode};
use throttle_http::{
    ContentLength, Options, Rejection,
    identity::{Header, OnMissing},
};

use crate::http::{
    answer::{Answer, allowed, grpc},
    case::{Case, ask_by, get, get_from_nowhere, get_path, with},
    cases::setup::{api, modern},
};

const POLICY: &str = r#""api";q=1;w=60"#;
const LIMITS: &str = r#""api";r=0;t=60"#;

pub(super) fn cases() -> Vec<Case> {
    vec![
        by_rule(),
        by_deny_list(),
        by_concurrency(),
        without_a_key(),
        without_an_address(),
        without_a_length(),
    ]
    .into_iter()
    .chain([over_grpc(), to_head()])
    .collect()
}

/// Answers without a status, so that the status of the reason is sent.
fn custom() -> Options {
    modern().on_rejection(|rejection: &Rejection<'_>| {
        let path = rejection.head().decoded_path();
        let body = format!("{} {path} {:?}", rejection.reason(), rejection.retry_after_secs());
        Response::builder().header("content-type", "text/plain").body(body).unwrap()
    })
}

fn answer(status: u16, body: &'static str) -> Answer {
    Answer::new(status, "text/plain", body).not_stored()
}

fn by_rule() -> Case {
    let denied = answer(429, "rule /a b Some(60)").draft(POLICY, LIMITS).retry_after(60);
    Case::new("on_rejection answers a denial by a rule", custom())
        .rule(api(1))
        .ask(get_path("/a%20b"), allowed().draft(POLICY, LIMITS))
        .ask(get_path("/a%20b"), denied)
}

fn by_deny_list() -> Case {
    let denied = answer(429, "deny_list / Some(5)").draft(POLICY, r#""api";r=0;t=5"#);
    Case::new("on_rejection answers clients on the deny list with 403, or 429 for a time", custom())
        .rule(api(1))
        .change(|limiter| limiter.deny_list().add("192.0.2.1").unwrap())
        .ask(get(), answer(403, "deny_list / None"))
        .change(|limiter| assert!(limiter.deny_list().remove("192.0.2.1").unwrap()))
        .change(|limiter| {
            limiter.deny_list().add_for("192.0.2.1", Duration::from_millis(4_100)).unwrap()
        })
        .ask(get(), denied.retry_after(5))
}

fn by_concurrency() -> Case {
    let policy = r#""uploads";q=1;qu="concurrent-requests""#;
    Case::new("on_rejection answers a denial by a concurrency limit", custom())
        .concurrency("uploads", 1)
        .begin("192.0.2.1")
        .ask(get(), answer(429, "concurrency / None").draft(policy, r#""uploads";r=0"#))
}

fn without_a_key() -> Case {
    let missing = OnMissing::Status(StatusCode::UNAUTHORIZED);
    let options = custom().key(Header::new("x-api-key").missing(missing));
    Case::new("on_rejection answers requests without a key with their status", options)
        .rule(api(1))
        .ask(get(), answer(401, "missing_key / None"))
}

fn without_an_address() -> Case {
    Case::new("on_rejection answers for a service that is not configured", custom())
        .rule(api(1))
        .ask(get_from_nowhere(), answer(500, "misconfigured / None"))
}

fn without_a_length() -> Case {
    let request = with(ask_by(Method::POST), "transfer-encoding", "chunked");
    Case::new(
        "on_rejection answers bodies of unknown length",
        custom().cost(ContentLength::in_kib()),
    )
    .rule(api(1))
    .ask(request, answer(411, "missing_length / None"))
}

fn over_grpc() -> Case {
    let request = with(ask_by(Method::POST), "content-type", "application/grpc");
    let message = "missing_key / None";
    Case::new(
        "on_rejection answers gRPC with the code of the status",
        custom().key(Header::new("x-api-key")),
    )
    .rule(api(1))
    .ask(request, grpc("application/grpc", 3, message))
}

fn to_head() -> Case {
    let denied = answer(429, "rule / Some(60)").draft(POLICY, LIMITS);
    Case::new("on_rejection answers HEAD without a body", custom())
        .rule(api(1))
        .ask(ask_by(Method::HEAD), allowed().draft(POLICY, LIMITS))
        .ask(ask_by(Method::HEAD), denied.retry_after(60))
}
