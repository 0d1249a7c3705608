//! Costs by the length of a request, and exemptions by its path.

use bytes::Bytes;
use http::{Method, Request};
use throttle_http::{ContentLength, OnMissingLength, Options};

use crate::http::{
    answer::{Answer, allowed, problem, rejected},
    case::{Case, ask_by, get, get_path, with},
    cases::setup::{api, modern},
};

pub(super) fn cases() -> Vec<Case> {
    vec![a_length(), a_length_that_is_missing(), paths(), health_checks()]
}

fn case(title: &'static str, options: Options, limit: u64) -> Case {
    Case::new(title, options).rule(api(limit))
}

fn left(limit: u64, left: u64) -> Answer {
    report(allowed(), limit, left)
}

fn report(answer: Answer, limit: u64, left: u64) -> Answer {
    answer.draft(&format!(r#""api";q={limit};w=60"#), &format!(r#""api";r={left};t=60"#))
}

/// Builds a POST request with a declared length and no body.
fn post(length: usize) -> Request<Bytes> {
    with(ask_by(Method::POST), "content-length", length.to_string())
}

/// Builds a POST request without a declared length.
fn chunked() -> Request<Bytes> {
    with(ask_by(Method::POST), "transfer-encoding", "chunked")
}

fn a_length() -> Case {
    let options = modern().cost(ContentLength::in_kib().at_most(6));
    let missing = r#"the request has no header field \"content-length\""#;
    case("a request costs its length in units, rounded up, up to a maximum", options, 10)
        .ask(post(1025), left(10, 8))
        .ask(get(), left(10, 7))
        .ask(post(0), left(10, 6))
        .ask(post(1 << 40), left(10, 0))
        .ask(post(1), report(rejected(&["api"]), 10, 0).retry_after(60))
        .ask(chunked(), problem(411, "Length Required", missing))
}

fn a_length_that_is_missing() -> Case {
    let options = modern().cost(ContentLength::in_units_of(1).missing(OnMissingLength::Costs(4)));
    case("a missing length has a configured cost", options, 10)
        .ask(chunked(), left(10, 6))
        .ask(with(ask_by(Method::PUT), "content-length", "ten"), left(10, 2))
        .ask(post(1), left(10, 1))
}

fn paths() -> Case {
    let options = modern().exempt_paths(["/metrics", "/static/*"]).exempt_paths(["/robots.txt"]);
    case("exempt paths match exactly or by prefix", options, 1)
        .ask(get_path("/static/a.css"), allowed())
        .ask(get_path("/static/a/b.css?v=1"), allowed())
        .ask(get_path("/metrics?x=/api"), allowed())
        .ask(get_path("http://example.com/robots.txt"), allowed())
        .ask(get_path("/api?x=/metrics"), left(1, 0))
        .ask(get_path("/static/../api"), report(rejected(&["api"]), 1, 0).retry_after(60))
        .ask(get_path("/static/%2e%2e/api"), report(rejected(&["api"]), 1, 0).retry_after(60))
        .ask(get_path("/Metrics"), report(rejected(&["api"]), 1, 0).retry_after(60))
        .ask(get_path("/metrics/"), report(rejected(&["api"]), 1, 0).retry_after(60))
}

fn health_checks() -> Case {
    let health = |method, path| {
        let mut request = get_path(path);
        *request.method_mut() = method;
        request
    };
    case(
        "only health checks are exempt, not requests that resemble them",
        modern().exempt_health_checks(),
        1,
    )
    .ask(health(Method::GET, "/healthz"), allowed())
    .ask(health(Method::HEAD, "/livez"), allowed())
    .ask(health(Method::GET, "/readyz?verbose"), allowed())
    .ask(health(Method::POST, "/healthz"), left(1, 0))
    .ask(health(Method::GET, "/healthz/x"), report(rejected(&["api"]), 1, 0).retry_after(60))
}
