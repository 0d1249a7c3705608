//! Requests that are exempt, and requests that cannot be limited.

use http::Method;
use throttle_http::{RequestHead, identity::Header};

use crate::http::{
    answer::{allowed, problem, rejected},
    case::{Case, ask_by, get, get_from_nowhere, get_path, with},
    cases::setup::{api, every_field, modern},
};

const POLICY: &str = r#""api";q=1;w=60"#;
const LIMITS: &str = r#""api";r=0;t=60"#;

pub(super) fn cases() -> Vec<Case> {
    vec![
        exempt(),
        exempt_twice(),
        methods(),
        head_and_options(),
        no_header(),
        a_function_without_a_key(),
        no_peer(),
        no_peer_but_exempt(),
        a_cost_of_zero(),
        preflight(),
    ]
}

fn exempt() -> Case {
    let options = modern().exempt(|head| head.path() == "/health");
    Case::new("an exempt request is not charged and gets no fields", options)
        .rule(api(1))
        .ask(get_path("/health"), allowed())
        .ask(get(), allowed().draft(POLICY, LIMITS))
        .ask(get_path("/health?full"), allowed())
        .ask(get_path("/healthy"), rejected(&["api"]).draft(POLICY, LIMITS).retry_after(60))
}

fn exempt_twice() -> Case {
    let internal = |head: &RequestHead<'_>| head.header("x-internal").is_some();
    let options = modern().exempt(|head| head.path() == "/health").exempt(internal);
    Case::new("one of two exemptions is enough", options)
        .rule(api(1))
        .ask(get_path("/health"), allowed())
        .ask(with(get(), "x-internal", "1"), allowed())
        .ask(get(), allowed().draft(POLICY, LIMITS))
}

fn methods() -> Case {
    let options = modern().methods([Method::POST, Method::PUT]);
    Case::new("only requests with the configured methods are limited", options)
        .rule(api(1))
        .ask(get(), allowed())
        .ask(ask_by(Method::POST), allowed().draft(POLICY, LIMITS))
        .ask(ask_by(Method::PUT), rejected(&["api"]).draft(POLICY, LIMITS).retry_after(60))
        .ask(get(), allowed())
        .ask(ask_by(Method::HEAD), allowed())
        .ask(ask_by(Method::DELETE), allowed())
}

fn head_and_options() -> Case {
    let rejected = rejected(&["api"]).draft(POLICY, LIMITS).legacy(1, 0, 60).retry_after(60);
    Case::new("HEAD and OPTIONS are limited like GET", every_field())
        .rule(api(1))
        .ask(ask_by(Method::HEAD), allowed().draft(POLICY, LIMITS).legacy(1, 0, 60))
        .ask(ask_by(Method::HEAD), rejected.clone())
        .ask(ask_by(Method::OPTIONS), rejected.clone())
        .ask(ask_by(Method::PATCH), rejected.clone())
        .ask(get(), rejected)
}

fn no_header() -> Case {
    let detail = r#"the request has no header field \"x-api-key\", or it is empty"#;
    let bad = problem(400, "Bad Request", detail);
    Case::new(
        "a request without its key is rejected with 400",
        every_field().key(Header::new("X-API-Key")),
    )
    .rule(api(1))
    .ask(get(), bad.clone())
    .ask(with(get(), "x-api-keys", "k"), bad)
    .ask(with(get(), "x-api-key", "k"), allowed().draft(POLICY, LIMITS).legacy(1, 0, 60))
}

fn a_function_without_a_key() -> Case {
    let tenant = |head: &RequestHead<'_>| head.header("x-tenant").map(str::to_owned);
    let bad = problem(400, "Bad Request", "the request does not identify its client");
    Case::new(
        "a request for which a function returns no key is rejected with 400",
        modern().key(tenant),
    )
    .rule(api(1))
    .ask(get(), bad.clone())
    .ask(with(get(), "x-tenant", [0xff]), bad)
    .ask(with(get(), "x-tenant", "t"), allowed().draft(POLICY, LIMITS))
}

fn no_peer() -> Case {
    let detail = "The server is not configured to tell clients apart.";
    let wrong = problem(500, "Internal Server Error", detail);
    Case::new(
        "a request without a peer address is rejected with 500 and shares no limit",
        every_field(),
    )
    .rule(api(1))
    .ask(get_from_nowhere(), wrong.clone())
    .ask(with(get_from_nowhere(), "x-forwarded-for", "192.0.2.1"), wrong)
    .ask(get(), allowed().draft(POLICY, LIMITS).legacy(1, 0, 60))
}

fn no_peer_but_exempt() -> Case {
    Case::new("an exempt request needs no key", modern().exempt(|_| true))
        .rule(api(1))
        .ask(get_from_nowhere(), allowed())
}

fn a_cost_of_zero() -> Case {
    Case::new(
        "a request of cost 0 is not charged and needs no key",
        every_field().cost(|_: &RequestHead<'_>| 0),
    )
    .rule(api(1))
    .ask(get(), allowed())
    .ask(get(), allowed())
    .ask(get_from_nowhere(), allowed())
}

fn preflight() -> Case {
    let options = modern().exempt_preflight();
    let asks = |request| with(request, "origin", "https://example.org");
    let preflight = || with(asks(ask_by(Method::OPTIONS)), "access-control-request-method", "PUT");
    let again = || rejected(&["api"]).draft(POLICY, LIMITS).retry_after(60);
    Case::new("only preflights are exempt, not requests that resemble them", options)
        .rule(api(1))
        .ask(preflight(), allowed())
        .ask(asks(ask_by(Method::OPTIONS)), allowed().draft(POLICY, LIMITS))
        .ask(preflight(), allowed())
        .ask(ask_by(Method::OPTIONS), again())
        .ask(with(asks(get()), "access-control-request-method", "PUT"), again())
}
