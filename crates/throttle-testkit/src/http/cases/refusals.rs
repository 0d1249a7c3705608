//! What is not limited, and what cannot be.

use http::Method;
use throttle_http::{RequestHead, identity::Header};

use crate::http::{
    answer::{passed, problem, refused},
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
        no_method(),
        head_and_options(),
        no_header(),
        a_function_without_an_answer(),
        no_peer(),
        no_peer_but_exempt(),
        a_cost_of_nought(),
        preflight(),
    ]
}

fn exempt() -> Case {
    let options = modern().exempt(|head| head.path() == "/health");
    Case::new("what is exempt passes uncharged and is told nothing", options)
        .rule(api(1))
        .ask(get_path("/health"), passed())
        .ask(get(), passed().draft(POLICY, LIMITS))
        .ask(get_path("/health?full"), passed())
        .ask(get_path("/healthy"), refused(&["api"]).draft(POLICY, LIMITS).retry_after(60))
}

fn exempt_twice() -> Case {
    let internal = |head: &RequestHead<'_>| head.header("x-internal").is_some();
    let options = modern().exempt(|head| head.path() == "/health").exempt(internal);
    Case::new("either of two exemptions is enough", options)
        .rule(api(1))
        .ask(get_path("/health"), passed())
        .ask(with(get(), "x-internal", "1"), passed())
        .ask(get(), passed().draft(POLICY, LIMITS))
}

fn methods() -> Case {
    let options = modern().methods([Method::POST, Method::PUT]);
    Case::new("only requests of the methods are limited", options)
        .rule(api(1))
        .ask(get(), passed())
        .ask(ask_by(Method::POST), passed().draft(POLICY, LIMITS))
        .ask(ask_by(Method::PUT), refused(&["api"]).draft(POLICY, LIMITS).retry_after(60))
        .ask(get(), passed())
        .ask(ask_by(Method::HEAD), passed())
        .ask(ask_by(Method::DELETE), passed())
}

fn no_method() -> Case {
    Case::new("without any method nothing is limited", modern().methods([]))
        .rule(api(1))
        .ask(get(), passed())
        .ask(get(), passed())
}

fn head_and_options() -> Case {
    let refused = refused(&["api"]).draft(POLICY, LIMITS).legacy(1, 0, 60).retry_after(60);
    Case::new("HEAD and OPTIONS are limited as GET is", every_field())
        .rule(api(1))
        .ask(ask_by(Method::HEAD), passed().draft(POLICY, LIMITS).legacy(1, 0, 60))
        .ask(ask_by(Method::HEAD), refused.clone())
        .ask(ask_by(Method::OPTIONS), refused.clone())
        .ask(ask_by(Method::PATCH), refused.clone())
        .ask(get(), refused)
}

fn no_header() -> Case {
    let detail = r#"the request lacks the header field \"x-api-key\""#;
    let bad = problem(400, "Bad Request", detail);
    Case::new("a request without its key is a bad one", every_field().key(Header::new("X-API-Key")))
        .rule(api(1))
        .ask(get(), bad.clone())
        .ask(with(get(), "x-api-keys", "k"), bad)
        .ask(with(get(), "x-api-key", "k"), passed().draft(POLICY, LIMITS).legacy(1, 0, 60))
}

fn a_function_without_an_answer() -> Case {
    let tenant = |head: &RequestHead<'_>| head.header("x-tenant").map(str::to_owned);
    let bad = problem(400, "Bad Request", "the request does not identify its client");
    Case::new("a request that a function finds no key for is a bad one", modern().key(tenant))
        .rule(api(1))
        .ask(get(), bad.clone())
        .ask(with(get(), "x-tenant", [0xff]), bad)
        .ask(with(get(), "x-tenant", "t"), passed().draft(POLICY, LIMITS))
}

fn no_peer() -> Case {
    let detail = "The server is not configured to tell clients apart.";
    let wrong = problem(500, "Internal Server Error", detail);
    Case::new("without the peer's address no bucket is shared: the server is wrong", every_field())
        .rule(api(1))
        .ask(get_from_nowhere(), wrong.clone())
        .ask(with(get_from_nowhere(), "x-forwarded-for", "192.0.2.1"), wrong)
        .ask(get(), passed().draft(POLICY, LIMITS).legacy(1, 0, 60))
}

fn no_peer_but_exempt() -> Case {
    Case::new("what is exempt needs no key", modern().exempt(|_| true))
        .rule(api(1))
        .ask(get_from_nowhere(), passed())
}

fn a_cost_of_nought() -> Case {
    Case::new(
        "a cost of 0 passes uncharged, and needs no key",
        every_field().cost(|_: &RequestHead<'_>| 0),
    )
    .rule(api(1))
    .ask(get(), passed())
    .ask(get(), passed())
    .ask(get_from_nowhere(), passed())
}

fn preflight() -> Case {
    let options = modern().exempt_preflight();
    let asks = |request| with(request, "origin", "https://example.org");
    let preflight = || with(asks(ask_by(Method::OPTIONS)), "access-control-request-method", "PUT");
    let again = || refused(&["api"]).draft(POLICY, LIMITS).retry_after(60);
    Case::new("a preflight passes uncharged, and nothing that only looks like one", options)
        .rule(api(1))
        .ask(preflight(), passed())
        .ask(asks(ask_by(Method::OPTIONS)), passed().draft(POLICY, LIMITS))
        .ask(preflight(), passed())
        .ask(ask_by(Method::OPTIONS), again())
        .ask(with(asks(get()), "access-control-request-method", "PUT"), again())
}
