//! The handler behind an adapter.

use std::{
    fmt, io,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{
    Extensions, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::CONTENT_TYPE,
};
use throttle_core::Decisions;
use throttle_http::{ActualCost, InFlight, InFlightGuard};
use tokio::sync::{Semaphore, mpsc};

use crate::{
    http::body::{Body, Piece},
    trap::Trap,
};

/// The field of a request that selects the behavior of the handler.
pub(super) const DO: HeaderName = HeaderName::from_static("x-do");
/// The default response body of the handler.
pub(super) const BODY: &str = "hello";

/// The handler that an adapter wraps; clones share its state.
#[derive(Clone)]
pub struct Handler(Arc<State>);

struct State {
    calls: AtomicUsize,
    at_work: AtomicUsize,
    /// Blocks calls that wait until it is closed.
    gate: Semaphore,
    seen: Mutex<Extensions>,
    sent: Mutex<Vec<(mpsc::UnboundedSender<Piece>, Option<ActualCost>)>>,
    kept: Mutex<Vec<InFlightGuard>>,
    trap: Trap,
}

impl Handler {
    /// Returns the response to a request: by default 200, `text/plain` and `hello`.
    ///
    /// The suite selects other behavior by the field `x-do`. The request needs only its method, this field and
    /// the extensions that layers insert for handlers: [`Decisions`], [`InFlight`] and [`ActualCost`]. If the
    /// framework has its own request type, start with `Request::new(())` and set these.
    ///
    /// # Panics
    ///
    /// Panics if `x-do` requests it.
    pub async fn call(self, request: Request<()>) -> Response<Body> {
        let _at_work = AtWork::new(&self);
        self.0.trap.spring();
        self.see(request.extensions());
        let mut response = Response::new(Body::whole(BODY));
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, text);
        let what =
            request.headers().get(DO).map_or("", |what| what.to_str().expect("x-do is text"));
        for word in what.split(' ') {
            self.act(word, &request, &mut response).await;
        }
        if request.method() == Method::HEAD || response.status() == StatusCode::NOT_MODIFIED {
            *response.body_mut() = Body::whole(Bytes::new());
        }
        response
    }

    /// Executes one word of `x-do`.
    ///
    /// - a number: sets the status
    /// - `cost=4`: sets the actual cost
    /// - `field=x-a:1`: adds a header field to the response
    /// - `wait`: waits until [`open`](Self::open) is called
    /// - `panic`: panics
    /// - `stream`: responds with a body that the test sends piece by piece
    /// - `begun`: sends the first piece of that body
    /// - `half`: responds with a body that panics after its first piece
    /// - `keep`: keeps the permits of the request
    async fn act(&self, word: &str, request: &Request<()>, response: &mut Response<Body>) {
        let extensions = request.extensions();
        let cost = extensions.get::<ActualCost>();
        match word.split_once('=').unwrap_or((word, "")) {
            ("cost", actual) => {
                let cost = cost.expect("the cost of the request is an estimate");
                cost.set(actual.parse().expect("costs are numbers"));
            }
            ("field", field) => {
                let (name, value) = field.split_once(':').expect("a field has a value");
                let name = HeaderName::from_bytes(name.as_bytes()).expect("a name of a field");
                let value = HeaderValue::from_str(value).expect("a value of a field");
                response.headers_mut().append(name, value);
            }
            ("wait", _) => drop(self.0.gate.acquire().await),
            ("panic", _) => resume_unwind(Box::new("on purpose")),
            ("half", _) => *response.body_mut() = Body::panics_after("half"),
            ("stream", _) => {
                let (sender, body) = Body::sent();
                lock(&self.0.sent).push((sender, cost.cloned()));
                *response.body_mut() = body;
            }
            ("begun", _) => self.send("begun"),
            ("keep", _) => {
                let in_flight = extensions.get::<InFlight>().expect("the request holds permits");
                lock(&self.0.kept).push(in_flight.keep());
            }
            ("", _) => {}
            (status, _) => *response.status_mut() = status.parse().expect("a status"),
        }
    }

    /// Keeps copies of the extensions that the layers inserted. The copies must not hold a permit.
    fn see(&self, extensions: &Extensions) {
        let mut seen = lock(&self.0.seen);
        seen.clear();
        if let Some(decisions) = extensions.get::<Decisions>() {
            seen.insert(decisions.clone());
        }
        if let Some(in_flight) = extensions.get::<InFlight>() {
            seen.insert(in_flight.clone());
        }
        if let Some(cost) = extensions.get::<ActualCost>() {
            seen.insert(cost.clone());
        }
    }

    pub(super) fn calls(&self) -> usize {
        self.0.calls.load(SeqCst)
    }

    /// Returns the number of calls in progress.
    pub(super) fn at_work(&self) -> usize {
        self.0.at_work.load(SeqCst)
    }

    /// Returns an extension of the last request.
    pub(super) fn seen<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        lock(&self.0.seen).get().cloned()
    }

    pub(super) fn trap(&self) -> &Trap {
        &self.0.trap
    }

    /// Unblocks all calls that wait, now and in the future.
    pub(super) fn open(&self) {
        self.0.gate.close();
    }

    /// Sends a piece of the last body.
    pub(super) fn send(&self, piece: &'static str) {
        self.send_or_fail(Ok(Bytes::from_static(piece.as_bytes())));
    }

    /// Makes the last body fail.
    pub(super) fn fail(&self) {
        self.send_or_fail(Err(io::Error::other("the disk failed")));
    }

    fn send_or_fail(&self, piece: Piece) {
        if let Some((sender, _)) = lock(&self.0.sent).last() {
            _ = sender.send(piece);
        }
    }

    /// Returns the actual cost of the request that has the last body.
    pub(super) fn cost(&self) -> ActualCost {
        let sent = lock(&self.0.sent);
        sent.last().and_then(|(_, cost)| cost.clone()).expect("a body whose cost is an estimate")
    }

    /// Adds to the actual cost of that request.
    pub(super) fn add(&self, cost: u64) {
        self.cost().add(cost);
    }

    /// Ends all bodies.
    pub(super) fn end(&self) {
        lock(&self.0.sent).clear();
    }

    /// Releases the permits that were kept.
    pub(super) fn release(&self) {
        lock(&self.0.kept).clear();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Handler {
    fn default() -> Self {
        Self(Arc::new(State {
            calls: AtomicUsize::new(0),
            at_work: AtomicUsize::new(0),
            gate: Semaphore::new(0),
            seen: Mutex::default(),
            sent: Mutex::default(),
            kept: Mutex::default(),
            trap: Trap::default(),
        }))
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("calls", &self.calls()).finish_non_exhaustive()
    }
}

/// A call in progress.
struct AtWork<'a>(&'a Handler);

impl<'a> AtWork<'a> {
    fn new(handler: &'a Handler) -> Self {
        handler.0.calls.fetch_add(1, SeqCst);
        handler.0.at_work.fetch_add(1, SeqCst);
        Self(handler)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.0.at_work.fetch_sub(1, SeqCst);
    }
}
