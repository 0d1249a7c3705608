//! Requests that are charged an estimate and settled to what they turned out to cost.

mod bodies;
mod costs;
mod layers;
mod teller;

use std::{
    fmt,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use throttle_core::{Algorithm, Limiter, ManualClock, Rule, Storage};
use throttle_http::Options;
use tokio::task::yield_now;

pub use self::teller::{Streamed, Teller, Told};
use super::{START, case::get};

const CLIENT: &str = "192.0.2.1";
const ESTIMATE: u64 = 10;
const WINDOW: Duration = Duration::from_secs(60);

/// Asks through an adapter for what is settled: to what handlers say, to what heads of responses tell, to the
/// bytes that are sent, by one layer and by several.
///
/// The adapter makes a service of the options of its layers, the innermost first, and the limiter of all of them,
/// around a handler that answers as [`Teller::answer`] does, which is told the value of the request's field `x-do`
/// and the `ActualCost` in the request's extensions. A call returns when the head of the response is there, whose
/// body is read through the [`Reader`]. To drop either is to be a client that goes away.
///
/// # Panics
///
/// When something is otherwise than it should be, with what that is.
pub async fn run_settling<St, S, M, C>(storage: impl Fn() -> St, make: M, call: C)
where
    St: Storage,
    M: AsyncFn(Vec<Options>, Limiter, Teller) -> S,
    C: AsyncFn(&S, Request<Bytes>) -> Response<Reader>,
{
    let adapter = Adapter { storage, make, call };
    adapter.costs().await;
    adapter.bodies().await;
    adapter.layers().await;
}

/// Reads the body of a response piece by piece.
pub struct Reader(Box<Next>);

type Next = dyn FnMut(&mut Context<'_>) -> Poll<Option<Bytes>>;

impl Reader {
    /// Reads by a function that returns the next piece, and none where the body has ended or failed.
    pub fn new(next: impl FnMut(&mut Context<'_>) -> Poll<Option<Bytes>> + 'static) -> Self {
        Self(Box::new(next))
    }

    async fn next(&mut self) -> Option<Bytes> {
        poll_fn(|cx| (self.0)(cx)).await
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
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
    teller: Teller,
}

/// Settles by what handlers say.
fn actual() -> Options {
    Options::new().cost(ESTIMATE).charge_actual()
}

fn tokens(limit: u64) -> Rule {
    Rule::new("tokens", limit, WINDOW).algorithm(Algorithm::FixedWindow)
}

fn day(limit: u64) -> Rule {
    Rule::per_day("day", limit).algorithm(Algorithm::FixedWindow)
}

impl<St, S, F, M, C> Adapter<F, M, C>
where
    St: Storage,
    F: Fn() -> St,
    M: AsyncFn(Vec<Options>, Limiter, Teller) -> S,
    C: AsyncFn(&S, Request<Bytes>) -> Response<Reader>,
{
    /// Has a hundred tokens in a window.
    async fn hundred(&self, options: Options) -> Served<'_, S, C> {
        self.serve([tokens(100)], [options]).await
    }

    async fn serve(
        &self,
        rules: impl IntoIterator<Item = Rule>,
        layers: impl IntoIterator<Item = Options>,
    ) -> Served<'_, S, C> {
        let clock = ManualClock::at(START.to_system_time());
        let limiter = Limiter::builder((self.storage)()).clock(clock.clone()).build();
        for rule in rules {
            limiter.add_rule(rule).expect("the rule can be kept");
        }
        let teller = Teller::default();
        let layers = layers.into_iter().collect();
        let service = (self.make)(layers, limiter.clone(), teller.clone()).await;
        Served { service, call: &self.call, limiter, clock, teller }
    }
}

impl<S, C> Served<'_, S, C>
where
    C: AsyncFn(&S, Request<Bytes>) -> Response<Reader>,
{
    /// Asks, and reads no more than the head of the response.
    async fn begin(&self, what: &'static str) -> Response<Reader> {
        let mut request = get();
        request.headers_mut().insert("x-do", HeaderValue::from_static(what));
        (self.call)(&self.service, request).await
    }

    /// Asks, and reads the response to its end.
    async fn ask(&self, what: &'static str) -> Response<Bytes> {
        let (head, mut reader) = self.begin(what).await.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = reader.next().await {
            body.extend_from_slice(&piece);
        }
        Response::from_parts(head, body.into())
    }

    /// Returns what is left of the tokens.
    async fn left(&self) -> u64 {
        self.left_of("tokens").await
    }

    /// Returns what is left when all that goes on in the background is done.
    async fn left_of(&self, rule: &str) -> u64 {
        for _ in 0..100 {
            yield_now().await;
        }
        self.limiter.peek(CLIENT, rule).await.expect("the storage answers").remaining()
    }
}

/// Returns a field of a response as text, empty where it lacks.
fn field<'a, B>(response: &'a Response<B>, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().expect("fields are text"))
}

/// Awaits a request, and returns whether it panics.
async fn panics<T>(request: impl Future<Output = T>) -> bool {
    let mut request = Box::pin(request);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(cx))) {
        Ok(polled) => polled.map(|_| false),
        Err(_) => Poll::Ready(true),
    })
    .await
}
