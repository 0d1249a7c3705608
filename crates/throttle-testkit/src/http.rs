//! The table of HTTP cases that every adapter passes, to the byte.
//!
//! A [`Case`] is a set of options and rules, and a history: requests, what the clock does between
//! them, and the exact [`Answer`] to each. An adapter makes a service of the options and a limiter,
//! lays it around a handler that answers with [`handler`], and says how the service is called:
//!
//! ```
//! # use bytes::Bytes; use http::{Request, Response}; use throttle_core::Limiter;
//! # use throttle_http::Options; use throttle_memory::MemoryStorage;
//! # struct Service;
//! # async fn my_adapter(_: Options, _: Limiter) -> Service { Service }
//! # async fn call(_: &Service, _: Request<Bytes>) -> Response<Bytes> { Response::default() }
//! # async fn my_adapter_answers_as_the_others_do() {
//! let answers = throttle_testkit::http::run(MemoryStorage::new, my_adapter, call).await;
//! assert_eq!(answers, throttle_testkit::http::answers());
//! # }
//! ```
//!
//! The address of the connection stands as a `SocketAddr` in the extensions of a request; an adapter
//! of a framework that keeps it elsewhere moves it there.

mod answer;
mod case;
mod cases;
mod following;
mod mistakes;
mod panics;
mod settling;
mod warnings;

use std::collections::VecDeque;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header::CONTENT_TYPE};
use throttle_core::{Clock, Limiter, ManualClock, Micros, Storage, SystemClock};
use throttle_http::Options;

pub use self::{
    answer::Answer,
    case::{Case, Step},
    cases::{all, nested},
    following::{Handler, run_following},
    mistakes::run_mistakes,
    panics::{Trap, run_panics, run_panics_over_connections},
    settling::{Reader, Streamed, Teller, Told, run_settling},
    warnings::run_warnings,
};

/// The body that the handler behind the adapter answers with.
pub const BODY: &str = "hello";
/// When the history of a case begins: 2026-01-01, 00:00 UTC, where every whole window begins.
pub const START: Micros = Micros::new(1_767_225_600_000_000);

/// Answers as the handler behind the adapter does: 200, plain text, [`BODY`].
#[must_use]
pub fn handler() -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(BODY.as_bytes()));
    let text = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, text);
    response
}

/// Returns how many answers the table holds.
#[must_use]
pub fn answers() -> usize {
    answers_of(&all())
}

/// Returns how many answers the cases of a layer within another hold.
#[must_use]
pub fn nested_answers() -> usize {
    answers_of(&nested())
}

fn answers_of(cases: &[Case]) -> usize {
    let is_ask = |step: &&Step| matches!(step, Step::Ask(..));
    cases.iter().map(|case| case.steps.iter().filter(is_ask).count()).sum()
}

/// Runs the table through an adapter, each case on a storage of its own, and returns how many answers
/// were compared.
///
/// # Panics
///
/// When an answer is another one, with the case, the request and both answers of each.
pub async fn run<St: Storage, S>(
    storage: impl Fn() -> St,
    make: impl AsyncFn(Options, Limiter) -> S,
    call: impl AsyncFn(&S, Request<Bytes>) -> Response<Bytes>,
) -> usize {
    run_cases(all(), storage, async |options, _, limiter| make(options, limiter).await, call).await
}

/// As [`run`], with the cases of a layer within another: the adapter is given the options of the outer
/// layer, those of the inner one, and the limiter of both.
///
/// # Panics
///
/// As [`run`].
pub async fn run_nested<St: Storage, S>(
    storage: impl Fn() -> St,
    make: impl AsyncFn(Options, Options, Limiter) -> S,
    call: impl AsyncFn(&S, Request<Bytes>) -> Response<Bytes>,
) -> usize {
    let make = async |outer, inner: Option<_>, limiter| {
        make(outer, inner.expect("each of these cases has one"), limiter).await
    };
    run_cases(nested(), storage, make, call).await
}

async fn run_cases<St: Storage, S>(
    cases: Vec<Case>,
    storage: impl Fn() -> St,
    make: impl AsyncFn(Options, Option<Options>, Limiter) -> S,
    call: impl AsyncFn(&S, Request<Bytes>) -> Response<Bytes>,
) -> usize {
    let (mut compared, mut wrong) = (0, Vec::new());
    for case in cases {
        let start = if case.in_real_time { SystemClock.now() } else { START };
        let clock = ManualClock::at(start.to_system_time());
        let limiter = Limiter::builder(storage()).clock(clock.clone()).build();
        for rule in case.rules {
            limiter.add_rule(rule).unwrap();
        }
        let limit = |(name, limit)| limiter.concurrency(name, limit).unwrap();
        let limits: Vec<_> = case.concurrency.into_iter().map(limit).collect();
        let with_limits = |options| limits.iter().cloned().fold(options, Options::concurrency);
        let (options, within) = match case.within {
            Some(within) => (case.options, Some(with_limits(within))),
            None => (with_limits(case.options), None),
        };
        let service = make(options, within, limiter.clone()).await;
        let mut under_way = VecDeque::new();
        for step in case.steps {
            match step {
                Step::Advance(span) => clock.advance(span),
                Step::Change(change) => change(&limiter),
                Step::Begin(client) => {
                    for limit in &limits {
                        under_way.push_back(limit.enter(client).await.unwrap());
                    }
                }
                Step::End => drop(under_way.drain(..limits.len())),
                Step::Ask(request, expected) => {
                    let about = format!("{} {}", request.method(), request.uri());
                    let mut answer = Answer::of(&call(&service, (*request).clone()).await);
                    if case.in_real_time {
                        answer.count_from(start);
                    }
                    if request.method() == Method::HEAD && answer.body.is_empty() {
                        // Whether the body is dropped here or by the server behind is the same.
                        answer.body.clone_from(&expected.body);
                    }
                    if answer != expected {
                        let title = case.title;
                        wrong.push(format!("{title}: {about}\n{answer}instead of\n{expected}"));
                    }
                    compared += 1;
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    compared
}
