//! A case of the table: its setup and its history of requests.

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use throttle_core::{Limiter, Rule};
use throttle_http::Options;

use crate::http::answer::Answer;

/// Options and rules, with the expected responses to a history of requests.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// The claim that the case checks, as a sentence.
    pub title: &'static str,
    /// The rules of the limiter.
    pub rules: Vec<Rule>,
    /// The options of the adapter.
    pub options: Options,
    /// The options of an inner layer, if there is one.
    pub inner: Option<Options>,
    /// The names and limits of requests in flight. The inner layer has them, if there is one.
    pub concurrency: Vec<(&'static str, u64)>,
    /// Whether the history begins at the current time instead of at `START`.
    pub in_real_time: bool,
    /// The history.
    pub steps: Vec<Step>,
}

/// An event in the history of a case.
#[derive(Clone)]
pub(super) enum Step {
    /// The clock of the limiter advances.
    Advance(Duration),
    /// The rules or the lists of the limiter change.
    Change(fn(&Limiter)),
    /// A request of this client begins in another process, and holds a permit of each limit of requests in
    /// flight.
    Begin(&'static str),
    /// The oldest request in flight in another process ends.
    End,
    /// A request is sent, with this expected response.
    Ask(Box<Request<Bytes>>, Answer),
}

impl Case {
    pub(super) fn new(title: &'static str, options: Options) -> Self {
        let (rules, concurrency, steps) = Default::default();
        Self { title, rules, options, inner: None, concurrency, in_real_time: false, steps }
    }

    pub(super) fn inner(mut self, options: Options) -> Self {
        self.inner = Some(options);
        self
    }

    pub(super) fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    pub(super) fn concurrency(mut self, name: &'static str, limit: u64) -> Self {
        self.concurrency.push((name, limit));
        self
    }

    pub(super) fn begin(self, client: &'static str) -> Self {
        self.step(Step::Begin(client))
    }

    pub(super) fn end(self) -> Self {
        self.step(Step::End)
    }

    pub(super) fn in_real_time(mut self) -> Self {
        self.in_real_time = true;
        self
    }

    pub(super) fn advance(self, span: Duration) -> Self {
        self.step(Step::Advance(span))
    }

    pub(super) fn change(self, change: fn(&Limiter)) -> Self {
        self.step(Step::Change(change))
    }

    pub(super) fn ask(self, request: Request<Bytes>, answer: Answer) -> Self {
        self.step(Step::Ask(Box::new(request), answer))
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Advance(span) => f.debug_tuple("Advance").field(span).finish(),
            Self::Change(_) => f.write_str("Change"),
            Self::Begin(client) => f.debug_tuple("Begin").field(client).finish(),
            Self::End => f.write_str("End"),
            Self::Ask(request, answer) => {
                f.debug_tuple("Ask").field(request).field(answer).finish()
            }
        }
    }
}

/// Builds a request for `/` from 192.0.2.1.
pub(super) fn get() -> Request<Bytes> {
    get_from("192.0.2.1")
}

/// Builds a request for `/` from an address.
pub(super) fn get_from(address: &str) -> Request<Bytes> {
    let mut request = request(Method::GET, "/");
    let peer = SocketAddr::new(address.parse().unwrap(), 50_000);
    request.extensions_mut().insert(peer);
    request
}

/// Builds a request with a method from 192.0.2.1.
pub(super) fn ask_by(method: Method) -> Request<Bytes> {
    let mut request = get();
    *request.method_mut() = method;
    request
}

/// Builds a request for a path from 192.0.2.1.
pub(super) fn get_path(path: &'static str) -> Request<Bytes> {
    let mut request = get();
    *request.uri_mut() = path.parse().unwrap();
    request
}

/// Builds a request without a peer address.
pub(super) fn get_from_nowhere() -> Request<Bytes> {
    request(Method::GET, "/")
}

/// Adds a header field line.
pub(super) fn with(
    mut request: Request<Bytes>,
    name: &'static str,
    value: impl AsRef<[u8]>,
) -> Request<Bytes> {
    let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
    request.headers_mut().append(name, value);
    request
}

fn request(method: Method, path: &str) -> Request<Bytes> {
    Request::builder().method(method).uri(path).body(Bytes::new()).unwrap()
}
