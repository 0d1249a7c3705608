//! The table of cases, which every adapter answers to the byte.

use std::collections::VecDeque;

use http::Method;
use throttle_core::{Clock, SystemClock};
use throttle_http::Options;

use crate::http::{
    adapter::Adapter,
    answer::Answer,
    case::{Case, Step},
    cases,
    fixture::{App, Fixture, Limits, START},
    handler::BODY,
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn table(&self) {
        for case in cases::all() {
            let title = case.title;
            self.scenario("table", title, Box::pin(self.case(case))).await;
        }
    }

    async fn case(&self, case: Case) {
        let start = if case.in_real_time { SystemClock.now() } else { START };
        let limits = Limits::over(self.storage(), case.rules);
        limits.clock.set(start.to_system_time());
        let limit = |(name, limit)| limits.limiter.concurrency(name, limit).unwrap();
        let concurrency: Vec<_> = case.concurrency.into_iter().map(limit).collect();
        let with_limits = |options| concurrency.iter().cloned().fold(options, Options::concurrency);
        let layers = match case.within {
            Some(within) => vec![with_limits(within), case.options],
            None => vec![with_limits(case.options)],
        };
        let app = self.app(&limits, layers).await;
        let (mut in_flight, mut wrong) = (VecDeque::new(), Vec::new());
        for step in case.steps {
            match step {
                Step::Advance(span) => app.clock.advance(span),
                Step::Change(change) => change(&app.limiter),
                Step::Begin(client) => {
                    for limit in &concurrency {
                        in_flight.push_back(limit.try_acquire(client).await.unwrap());
                    }
                }
                Step::End => drop(in_flight.drain(..concurrency.len())),
                Step::Ask(request, expected) => {
                    let about = format!("{} {}", request.method(), request.uri());
                    let calls = app.handler.calls();
                    let mut answer = answer(&app, *request, &expected).await;
                    if case.in_real_time {
                        answer.count_from(start);
                    }
                    if answer != expected {
                        wrong.push(format!("{about}\n{answer}instead of\n{expected}"));
                    }
                    let calls = app.handler.calls() - calls;
                    if calls != usize::from(expected.body == BODY) {
                        wrong.push(format!(
                            "{about}\n{calls} calls of the handler before\n{expected}"
                        ));
                    }
                    self.run.answered();
                }
            }
        }
        // What follows the first is mostly the same again.
        if let [first, others @ ..] = &wrong[..] {
            panic!("{first}and {} more answers of this history", others.len());
        }
    }
}

async fn answer<A: Adapter>(
    app: &App<'_, A>,
    request: http::Request<bytes::Bytes>,
    expected: &Answer,
) -> Answer {
    let is_head = request.method() == Method::HEAD;
    let mut answer = Answer::of(&app.call(request).await);
    if is_head && answer.body.is_empty() {
        // Whether the body is dropped here or by the server behind is the same.
        answer.body.clone_from(&expected.body);
    }
    answer
}
