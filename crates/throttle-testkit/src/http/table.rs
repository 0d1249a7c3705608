//! The runner of the table of cases. Responses are compared byte by byte.

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
        let layers = match case.inner {
            Some(inner) => vec![with_limits(inner), case.options],
            None => vec![with_limits(case.options)],
        };
        let app = self.app(&limits, layers).await;
        let (mut in_flight, mut failures) = (VecDeque::new(), Vec::new());
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
                        answer.normalize_reset(start);
                    }
                    if answer != expected {
                        failures.push(format!("{about}\n{answer}expected\n{expected}"));
                    }
                    let calls = app.handler.calls() - calls;
                    if calls != usize::from(expected.body == BODY) {
                        failures.push(format!(
                            "{about}\nthe handler was called {calls} times before\n{expected}"
                        ));
                    }
                    self.run.count_answer();
                }
            }
        }
        // The failures after the first mostly have the same cause.
        if let [first, others @ ..] = &failures[..] {
            panic!("{first}and {} more failures of this history", others.len());
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
        // The adapter may drop the body of a response to HEAD, or leave that to the server.
        answer.body.clone_from(&expected.body);
    }
    answer
}
