//! Requests that wait for their turn, and those whose charge depends on their response.

mod handler;
mod outcomes;
mod turns;

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use throttle_core::{Algorithm, Limiter, ManualClock, Rule, Storage};
use throttle_http::Options;
use tokio::task::yield_now;

pub use self::handler::Handler;
use super::{START, case::get};

const CLIENT: &str = "192.0.2.1";
const WINDOW: Duration = Duration::from_secs(60);

/// Asks through an adapter for what is followed past its decision: charges that depend on the response,
/// and turns.
///
/// The adapter makes a service of the options and the limiter, around a handler that answers as
/// [`Handler::answer`] does, which is told the value of the request's field `x-do`. To drop the future of
/// a call is to be a client that goes away.
///
/// # Panics
///
/// When something is otherwise than it should be, with what that is.
pub async fn run_following<St, S, M, C>(storage: impl Fn() -> St, make: M, call: C)
where
    St: Storage,
    M: AsyncFn(Options, Limiter, Handler) -> S,
    C: AsyncFn(&S, Request<Bytes>) -> Response<Bytes>,
{
    let adapter = Adapter { storage, make, call };
    adapter.outcomes().await;
    adapter.turns().await;
}

/// Says how services are made and called.
struct Adapter<F, M, C> {
    storage: F,
    make: M,
    call: C,
}

/// Is a service with what stands behind it.
struct Served<'a, S, C> {
    service: S,
    call: &'a C,
    limiter: Limiter,
    clock: ManualClock,
    handler: Handler,
}

impl<St, S, F, M, C> Adapter<F, M, C>
where
    St: Storage,
    F: Fn() -> St,
    M: AsyncFn(Options, Limiter, Handler) -> S,
    C: AsyncFn(&S, Request<Bytes>) -> Response<Bytes>,
{
    /// Counts in windows.
    async fn windows(&self, limit: u64, options: Options) -> Served<'_, S, C> {
        let rule = Rule::new("api", limit, WINDOW).algorithm(Algorithm::FixedWindow);
        self.serve((self.storage)(), rule, options).await
    }

    /// Lets one request a second through, of which `burst` may wait.
    async fn queue(&self, burst: u64, options: Options) -> Served<'_, S, C> {
        let rule = Rule::per_second("api", 1).algorithm(Algorithm::LeakyBucket).burst(burst);
        self.serve((self.storage)(), rule, options).await
    }

    async fn serve(&self, storage: impl Storage, rule: Rule, options: Options) -> Served<'_, S, C> {
        let clock = ManualClock::at(START.to_system_time());
        let limiter = Limiter::builder(storage).clock(clock.clone()).build();
        limiter.add_rule(rule).expect("the rule can be kept");
        let handler = Handler::default();
        let service = (self.make)(options, limiter.clone(), handler.clone()).await;
        Served { service, call: &self.call, limiter, clock, handler }
    }
}

impl<S, C> Served<'_, S, C>
where
    C: AsyncFn(&S, Request<Bytes>) -> Response<Bytes>,
{
    /// Asks for a response of this status.
    async fn ask(&self, what: &'static str) -> Response<Bytes> {
        let mut request = get();
        request.headers_mut().insert("x-do", HeaderValue::from_static(what));
        (self.call)(&self.service, request).await
    }

    /// Asks, and returns the status and a field of the response, empty where it lacks.
    async fn field(&self, what: &'static str, name: &str) -> (u16, String) {
        let response = self.ask(what).await;
        let field = response.headers().get(name).map_or(&b""[..], HeaderValue::as_bytes);
        (response.status().as_u16(), String::from_utf8_lossy(field).into_owned())
    }

    async fn left(&self) -> u64 {
        self.limiter.peek(CLIENT, "api").await.expect("the storage answers").remaining()
    }

    /// Waits for what goes on in the background, until so much is left.
    async fn has_left(&self, expected: u64, why: &str) {
        for _ in 0..1000 {
            if self.left().await == expected {
                return;
            }
            yield_now().await;
        }
        assert_eq!(self.left().await, expected, "{why}");
    }
}

/// Lets a request go on for as long as it can, and returns its response if there is one.
pub(super) async fn go_on<T>(mut request: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    for _ in 0..50 {
        if let Some(done) = poll_once(request.as_mut()).await {
            return Some(done);
        }
    }
    None
}

/// Polls a request once, and lets others go on then.
pub(super) async fn poll_once<T>(mut request: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match poll_fn(|cx| Poll::Ready(request.as_mut().poll(cx))).await {
        Poll::Ready(done) => Some(done),
        Poll::Pending => {
            yield_now().await;
            None
        }
    }
}
