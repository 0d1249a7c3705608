//! What a request costs by its length, and what costs nothing by its path.

use bytes::Bytes;
use http::{Method, Request};
use throttle_http::{ContentLength, OnMissingLength, Options};

use crate::http::{
    answer::{Answer, passed, problem, refused},
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
    told(passed(), limit, left)
}

fn told(answer: Answer, limit: u64, left: u64) -> Answer {
    answer.draft(&format!(r#""api";q={limit};w=60"#), &format!(r#""api";r={left};t=60"#))
}

/// Posts a body of which nothing but its length is said.
fn post(length: usize) -> Request<Bytes> {
    with(ask_by(Method::POST), "content-length", length.to_string())
}

/// Posts a body that is as long as it turns out to be.
fn chunked() -> Request<Bytes> {
    with(ask_by(Method::POST), "transfer-encoding", "chunked")
}

fn a_length() -> Case {
    let options = modern().cost(ContentLength::in_kib().at_most(6));
    let lacking = r#"the request lacks the header field \"content-length\""#;
    case("a request costs its length in units that are begun, up to a bound", options, 10)
        .ask(post(1025), left(10, 8))
        .ask(get(), left(10, 7))
        .ask(post(0), left(10, 6))
        .ask(post(1 << 40), left(10, 0))
        .ask(post(1), told(refused(&["api"]), 10, 0).retry_after(60))
        .ask(chunked(), problem(411, "Length Required", lacking))
}

fn a_length_that_is_missing() -> Case {
    let options = modern().cost(ContentLength::in_units_of(1).missing(OnMissingLength::Costs(4)));
    case("a length that is missing has a cost of its own", options, 10)
        .ask(chunked(), left(10, 6))
        .ask(with(ask_by(Method::PUT), "content-length", "ten"), left(10, 2))
        .ask(post(1), left(10, 1))
}

fn paths() -> Case {
    let options = modern().exempt_paths(["/metrics", "/static/*"]).exempt_paths(["/robots.txt"]);
    case("paths are exempt to the letter, or with all below them", options, 1)
        .ask(get_path("/static/a.css"), passed())
        .ask(get_path("/static/a/b.css?v=1"), passed())
        .ask(get_path("/metrics?x=/api"), passed())
        .ask(get_path("http://example.com/robots.txt"), passed())
        .ask(get_path("/api?x=/metrics"), left(1, 0))
        .ask(get_path("/static/../api"), told(refused(&["api"]), 1, 0).retry_after(60))
        .ask(get_path("/static/%2e%2e/api"), told(refused(&["api"]), 1, 0).retry_after(60))
        .ask(get_path("/Metrics"), told(refused(&["api"]), 1, 0).retry_after(60))
        .ask(get_path("/metrics/"), told(refused(&["api"]), 1, 0).retry_after(60))
}

fn health_checks() -> Case {
    let health = |method, path| {
        let mut request = get_path(path);
        *request.method_mut() = method;
        request
    };
    case(
        "health checks pass uncharged, and nothing that only looks like one",
        modern().exempt_health_checks(),
        1,
    )
    .ask(health(Method::GET, "/healthz"), passed())
    .ask(health(Method::HEAD, "/livez"), passed())
    .ask(health(Method::GET, "/readyz?verbose"), passed())
    .ask(health(Method::POST, "/healthz"), left(1, 0))
    .ask(health(Method::GET, "/healthz/x"), told(refused(&["api"]), 1, 0).retry_after(60))
}
