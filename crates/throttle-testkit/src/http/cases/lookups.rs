//! Keys that are waited for.

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
    answer::{Answer, passed, problem, refused},
    case::{Case, get, get_from, with},
    cases::setup::{fixed, modern, secs},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        customers(),
        customers_with_plans(),
        a_lookup_in_a_tuple(),
        a_lookup_that_finds_nobody(),
        nobody_by_address(),
        a_lookup_that_fails(),
        what_is_exempt_is_not_looked_up(),
    ]
}

/// Answers at the second poll, as what is asked over a network does.
async fn later() {
    let mut asked = false;
    let answer = |cx: &mut Context<'_>| {
        if asked {
            return Poll::Ready(());
        }
        asked = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    };
    poll_fn(answer).await;
}

/// Stands for a database: two API keys of Alice's, one of Bob's; `broken` cannot be looked up.
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
    passed().draft(r#""api";q=1;w=60"#, r#""api";r=0;t=60"#)
}

fn again() -> Answer {
    refused(&["api"]).draft(r#""api";q=1;w=60"#, r#""api";r=0;t=60"#).retry_after(60)
}

fn of(api_key: &'static str) -> http::Request<bytes::Bytes> {
    with(get(), "x-api-key", api_key)
}

fn customers() -> Case {
    case("a key that is looked up is a key like others", modern().rule("api").key(customer()))
        .ask(of("a-1"), first())
        .ask(of("a-2"), again())
        .ask(of("b"), first())
        .ask(of("a-1"), again())
        .change(|limiter| limiter.allow_list().add("alice").unwrap())
        .ask(of("a-1"), passed())
        .change(|limiter| limiter.deny_list().add("bob").unwrap())
        .ask(of("b"), crate::http::answer::banned())
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
        passed().draft(
            r#""api";q=1;w=60, "pro";q=2;w=60"#,
            &format!(r#""api";r=0;t=60, "pro";r={left};t=60"#),
        )
    };
    let detail = "The server is not configured to limit this request.";
    case(
        "a lookup says what rules apply, beside those that are named",
        modern().rule("api").key(key),
    )
    .ask(of("pat"), pro(1))
    .ask(of("fay"), first())
    .ask(of("fay"), again())
    .ask(of("gil"), problem(500, "Internal Server Error", detail))
    .ask(get(), problem(400, "Bad Request", "the request does not identify its client"))
}

fn a_lookup_in_a_tuple() -> Case {
    case("a lookup is a part of a tuple", modern().rule("api").key((ClientIp::new(), customer())))
        .ask(of("a-1"), first())
        .ask(of("a-2"), again())
        .ask(with(get_from("192.0.2.2"), "x-api-key", "a-1"), first())
        .ask(of("none"), problem(400, "Bad Request", "the request does not identify its client"))
        .ask(of("b"), first())
}

fn a_lookup_that_finds_nobody() -> Case {
    let key = customer().missing(OnMissing::Status(http::StatusCode::FORBIDDEN));
    let answer = problem(403, "Forbidden", "the request does not identify its client");
    case(
        "those that are not found are refused by a status of choice",
        modern().rule("api").key(key),
    )
    .ask(of("mallory"), answer.clone())
    .ask(get(), answer)
    .ask(of("b"), first())
}

fn nobody_by_address() -> Case {
    let key = customer().missing(OnMissing::ClientIp(ClientIp::new()));
    case(
        "those that are not found are limited by address, if they may",
        modern().rule("api").key(key),
    )
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
    case("a lookup that fails is as a storage that does", modern().rule("api").key(customer()))
        .ask(of("broken"), unavailable())
        .ask(of("b"), first())
        .ask(of("broken"), unavailable())
}

fn what_is_exempt_is_not_looked_up() -> Case {
    let key = AsyncKey::new(|_: &RequestHead<'_>| async {
        unreachable!("nobody may look it up");
        #[expect(unreachable_code, reason = "it says of what type the answer were")]
        Ok::<Option<String>, io::Error>(None)
    });
    let options = modern().key(key).exempt(|_| true);
    case("what is exempt is not looked up", options).ask(get(), passed())
}
