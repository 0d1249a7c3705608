//! The fixtures of scenarios: limits, services of the adapter, requests.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::Poll,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use throttle_core::{Algorithm, AtomicStorage, Limiter, ManualClock, Micros, Rule, Storage};
use throttle_http::{ConfigError, Options};
use throttle_memory::MemoryStorage;
use tokio::task::yield_now;

use crate::{
    http::{
        adapter::{Adapter, Layer},
        body::Reader,
        case::get,
        handler::{DO, Handler},
        run::{Run, Scenario},
    },
    storages::Later,
};

/// The time at which the clock of a scenario starts: 2026-01-01, 00:00 UTC, an edge of all usual windows.
pub(super) const START: Micros = Micros::new(1_767_225_600_000_000);
/// The address of the default client.
pub(super) const CLIENT: &str = "192.0.2.1";

/// An adapter, and the way in which scenarios use it.
pub(super) struct Fixture<'a, A> {
    pub run: &'a Run<'a>,
    pub adapter: &'a A,
    pub storage: Answers,
    /// The part of scenario names that describes this way.
    pub about: &'static str,
}

/// The time at which the storage replies.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Answers {
    AtOnce,
    Later,
}

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn scenario(&self, group: &str, name: &str, scenario: Scenario<'_>) {
        let name = format!("{group}, {}: {}", self.about, name.replace('_', " "));
        self.run.scenario(name, scenario).await;
    }

    pub(super) fn storage(&self) -> Arc<dyn AtomicStorage> {
        match self.storage {
            Answers::AtOnce => Arc::new(MemoryStorage::new()).atomic(),
            Answers::Later => Arc::new(Later::default()).atomic(),
        }
    }

    /// Creates limits in a new storage.
    pub(super) fn limits(&self, rules: impl IntoIterator<Item = Rule>) -> Limits {
        Limits::over(self.storage(), rules)
    }

    /// Creates a service with new limits.
    pub(super) async fn serve(
        &self,
        rules: impl IntoIterator<Item = Rule>,
        layers: impl IntoIterator<Item = Options>,
    ) -> App<'_, A> {
        self.app(&self.limits(rules), layers).await
    }

    /// Creates a service with layers, the innermost first.
    pub(super) async fn app(
        &self,
        limits: &Limits,
        layers: impl IntoIterator<Item = Options>,
    ) -> App<'_, A> {
        let layers: Vec<_> =
            layers.into_iter().map(|options| Layer::new(&limits.limiter, options)).collect();
        match self.build(limits, &layers).await {
            Ok(app) => app,
            Err(error) => panic!("the layers cannot be built: {error}"),
        }
    }

    pub(super) async fn build(
        &self,
        limits: &Limits,
        layers: &[Layer],
    ) -> Result<App<'_, A>, ConfigError> {
        let Limits { limiter, clock } = limits.clone();
        let handler = Handler::default();
        let service = Box::pin(self.adapter.service(layers, handler.clone())).await?;
        Ok(App { adapter: self.adapter, service, limiter, clock, handler })
    }
}

/// A limiter and its clock.
#[derive(Clone)]
pub(super) struct Limits {
    pub limiter: Limiter,
    pub clock: ManualClock,
}

impl Limits {
    pub(super) fn over(storage: impl Storage, rules: impl IntoIterator<Item = Rule>) -> Self {
        let clock = ManualClock::at(START.to_system_time());
        let limiter = Limiter::builder(storage).clock(clock.clone()).build();
        for rule in rules {
            limiter.add_rule(rule).expect("the limiter accepts the rule");
        }
        Self { limiter, clock }
    }
}

/// A service of the adapter, with its limiter, clock and handler.
pub(super) struct App<'a, A: Adapter> {
    adapter: &'a A,
    pub service: A::Service,
    pub limiter: Limiter,
    pub clock: ManualClock,
    pub handler: Handler,
}

impl<A: Adapter> App<'_, A> {
    /// Sends a request, and reads only the head of the response.
    pub(super) async fn send(&self, request: Request<Bytes>) -> Response<Reader> {
        Box::pin(self.adapter.call(&self.service, request)).await
    }

    /// Sends a request, and reads the response to its end.
    pub(super) async fn call(&self, request: Request<Bytes>) -> Response<Bytes> {
        Reader::whole(self.send(request).await).await
    }

    pub(super) async fn status(&self, request: Request<Bytes>) -> u16 {
        self.call(request).await.status().as_u16()
    }

    /// Sends the request of [`ask_for`], and reads only the head of the response.
    pub(super) async fn begin(&self, what: &'static str) -> Response<Reader> {
        self.send(ask_for(what)).await
    }

    /// Sends the request of [`ask_for`], and reads the response to its end.
    pub(super) async fn ask(&self, what: &'static str) -> Response<Bytes> {
        self.call(ask_for(what)).await
    }

    /// Returns the status and a header field of the response to [`ask`](Self::ask); a missing field is empty.
    pub(super) async fn field_of(&self, what: &'static str, name: &str) -> (u16, String) {
        let response = self.ask(what).await;
        (response.status().as_u16(), field(&response, name).to_owned())
    }

    /// Waits for background tasks until `expected` remains of a rule.
    pub(super) async fn wait_for_remaining(&self, rule: &str, expected: u64, why: &str) {
        for _ in 0..1000 {
            if self.remaining_now(rule).await == expected {
                return;
            }
            yield_now().await;
        }
        assert_eq!(self.remaining_now(rule).await, expected, "{why}");
    }

    /// Returns the remaining quota of a rule.
    pub(super) async fn remaining_now(&self, rule: &str) -> u64 {
        self.limiter.peek(CLIENT, rule).await.expect("the storage answers").remaining()
    }

    /// Returns the remaining quota of a rule after all background tasks have finished.
    pub(super) async fn remaining(&self, rule: &str) -> u64 {
        background().await;
        self.remaining_now(rule).await
    }
}

/// Creates a rule that allows `limit` requests per minute, in windows that begin at `START`.
pub(super) fn api(limit: u64) -> Rule {
    Rule::per_minute("api", limit).algorithm(Algorithm::FixedWindow)
}

/// Builds a request that makes the handler do something: see [`Handler::call`].
pub(super) fn ask_for(what: &'static str) -> Request<Bytes> {
    let mut request = get();
    request.headers_mut().insert(DO, HeaderValue::from_static(what));
    request
}

/// Returns a header field of a response as text; a missing field is empty.
pub(super) fn field<'a, B>(response: &'a Response<B>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("fields are text"))
}

/// Returns all lines of a header field, in order.
pub(super) fn lines<'a, B>(response: &'a Response<B>, name: &str) -> Vec<&'a str> {
    let values = response.headers().get_all(name).iter();
    values.map(|value| value.to_str().expect("fields are text")).collect()
}

/// Awaits futures concurrently.
pub(super) async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut done = Vec::new();
    poll_fn(|cx| {
        pending.retain_mut(|future| match future.as_mut().poll(cx) {
            Poll::Ready(output) => {
                done.push(output);
                false
            }
            Poll::Pending => true,
        });
        if pending.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done
}

/// Yields until background tasks have made all possible progress.
pub(super) async fn background() {
    for _ in 0..100 {
        yield_now().await;
    }
}

/// Polls a request until it makes no more progress, and returns its response if there is one.
pub(super) async fn go_on<T>(mut request: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    for _ in 0..50 {
        if let Some(done) = poll_once(request.as_mut()).await {
            return Some(done);
        }
    }
    None
}

/// Polls a request once, and then yields to other tasks.
pub(super) async fn poll_once<T>(mut request: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx))).await {
        Poll::Ready(done) => Some(done),
        Poll::Pending => {
            yield_now().await;
            None
        }
    }
}
