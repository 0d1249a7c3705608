//! Asynchronous keys.

use std::{
    future::poll_fn,
    io,
    task::{Context, Poll},
};

use throttle_http::{
    Options, RequestHead,
    identity::{AsyncKey, ClientIp, KeyWithRules, OnMissing},
};

use crate::http::{
    answer::{Answer, allowed, problem, rejected},
    case::{Case, get, get_from, with},
    cases::setup::{fixed, modern, secs},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        customers(),
        customers_with_plans(),
        a_lookup_in_a_tuple(),
        a_lookup_that_finds_no_key(),
        a_lookup_that_falls_back_to_the_address(),
        a_lookup_that_fails(),
        an_exempt_request_is_not_looked_up(),
    ]
}

/// Waits for one poll, to simulate a call over a network.
async fn later() {
    let mut polled = false;
    let poll = |cx: &mut Context<'_>| {
        if polled {
            return Poll::Ready(());
        }
        polled = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    };
    poll_fn(poll).await;
}

/// Simulates a database with two API keys of Alice and one of Bob; the lookup of `broken` fails.
fn customer() -> AsyncKey {
    AsyncKey::new(|head: &RequestHead<'_>| {
        let api_key = head.header("x-api-key").unwrap_or_default().to_owned();
        async move {
            later().await;
            match &*api_key {
                "a-1" | "a-2" => Ok(Some("alice")),
                "b" => Ok(Some("bob")),
                "broken" => Err(io::Error::other("the database is down")),
                _ => Ok(None),
            }
        }
    })
}

fn case(title: &'static str, options: Options) -> Case {
    Case::new(title, options).rule(fixed("api", 1, secs(60))).rule(fixed("pro", 2, secs(60)))
}

fn first() -> Answer {
    allowed().draft(r#""api";q=1;w=60"#, r#""api";r=0;t=60"#)
}

fn again() -> Answer {
    rejected(&["api"]).draft(r#""api";q=1;w=60"#, r#""api";r=0;t=60"#).retry_after(60)
}

fn of(api_key: &'static str) -> http::Request<bytes::Bytes> {
    with(get(), "x-api-key", api_key)
}

fn customers() -> Case {
    case("a key that is looked up behaves as any other key", modern().rule("api").key(customer()))
        .ask(of("a-1"), first())
        .ask(of("a-2"), again())
        .ask(of("b"), first())
        .ask(of("a-1"), again())
        .change(|limiter| limiter.allow_list().add("alice").unwrap())
        .ask(of("a-1"), allowed())
        .change(|limiter| limiter.deny_list().add("bob").unwrap())
        .ask(of("b"), crate::http::answer::on_deny_list())
}

fn customers_with_plans() -> Case {
    let key = AsyncKey::new(|head: &RequestHead<'_>| {
        let customer = head.header("x-api-key").map(str::to_owned);
        async move {
            later().await;
            let plan = match customer.as_deref() {
                Some("pat") => Some("pro"),
                Some("gil") => Some("gold"),
                _ => None,
            };
            Ok::<_, io::Error>(KeyWithRules::new(customer, plan))
        }
    });
    let pro = |left: u64| {
        allowed().draft(
            r#""api";q=1;w=60, "pro";q=2;w=60"#,
            &format!(r#""api";r=0;t=60, "pro";r={left};t=60"#),
        )
    };
    let detail = "The server is not configured to limit this request.";
    case("a lookup can select rules in addition to the named ones", modern().rule("api").key(key))
        .ask(of("pat"), pro(1))
        .ask(of("fay"), first())
        .ask(of("fay"), again())
        .ask(of("gil"), problem(500, "Internal Server Error", detail))
        .ask(get(), problem(400, "Bad Request", "the request does not identify its client"))
}

fn a_lookup_in_a_tuple() -> Case {
    case(
        "a lookup can be a part of a tuple",
        modern().rule("api").key((ClientIp::new(), customer())),
    )
    .ask(of("a-1"), first())
    .ask(of("a-2"), again())
    .ask(with(get_from("192.0.2.2"), "x-api-key", "a-1"), first())
    .ask(of("none"), problem(400, "Bad Request", "the request does not identify its client"))
    .ask(of("b"), first())
}

fn a_lookup_that_finds_no_key() -> Case {
    let key = customer().missing(OnMissing::Status(http::StatusCode::FORBIDDEN));
    let answer = problem(403, "Forbidden", "the request does not identify its client");
    case(
        "clients that are not found are rejected with the configured status",
        modern().rule("api").key(key),
    )
    .ask(of("mallory"), answer.clone())
    .ask(get(), answer)
    .ask(of("b"), first())
}

fn a_lookup_that_falls_back_to_the_address() -> Case {
    let key = customer().missing(OnMissing::ClientIp(ClientIp::new()));
    case("clients that are not found can be limited by address", modern().rule("api").key(key))
        .ask(get(), first())
        .ask(of("mallory"), again())
        .ask(get_from("192.0.2.2"), first())
        .ask(of("a-1"), first())
}

fn a_lookup_that_fails() -> Case {
    let unavailable = || {
        let body = "{\"type\":\"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity\",\
                    \"title\":\"Request cannot be satisfied due to temporary server capacity constraints\",\
                    \"status\":503}";
        Answer::new(503, "application/problem+json", body).not_stored().retry_after(1)
    };
    case("a failed lookup is handled as a storage error", modern().rule("api").key(customer()))
        .ask(of("broken"), unavailable())
        .ask(of("b"), first())
        .ask(of("broken"), unavailable())
}

fn an_exempt_request_is_not_looked_up() -> Case {
    let key = AsyncKey::new(|_: &RequestHead<'_>| async {
        unreachable!("an exempt request is not looked up");
        #[expect(unreachable_code, reason = "it gives the block its type")]
        Ok::<Option<String>, io::Error>(None)
    });
    let options = modern().key(key).exempt(|_| true);
    case("an exempt request is not looked up", options).ask(get(), allowed())
}
