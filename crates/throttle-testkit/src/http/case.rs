//! One case: what is set up, and what happens then.

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use throttle_core::{Limiter, Rule};
use throttle_http::Options;

use crate::http::answer::Answer;

/// Options and rules, and what is answered to a history of requests.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// What the case shows, as a sentence that can fail.
    pub title: &'static str,
    /// The rules of the limiter.
    pub rules: Vec<Rule>,
    /// The options of the adapter.
    pub options: Options,
    /// The options of a layer within, if there is one.
    pub within: Option<Options>,
    /// The limits of requests under way, with their names, which are made of the limiter; the layer within
    /// has them, if there is one.
    pub concurrency: Vec<(&'static str, u64)>,
    /// Whether the history begins now instead of at `START`.
    pub in_real_time: bool,
    /// What happens, in this order.
    pub steps: Vec<Step>,
}

/// One thing that happens in a case.
#[derive(Clone)]
pub(super) enum Step {
    /// The limiter's clock goes on.
    Advance(Duration),
    /// The limiter is changed: its rules, its lists.
    Change(fn(&Limiter)),
    /// A request of this client begins elsewhere, and holds a place of each limit of requests under way.
    Begin(&'static str),
    /// The request that began first of those that are under way elsewhere ends.
    End,
    /// A request is made, and this is the answer.
    Ask(Box<Request<Bytes>>, Answer),
}

impl Case {
    pub(super) fn new(title: &'static str, options: Options) -> Self {
        let (rules, concurrency, steps) = Default::default();
        Self { title, rules, options, within: None, concurrency, in_real_time: false, steps }
    }

    pub(super) fn within(mut self, options: Options) -> Self {
        self.within = Some(options);
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

/// Asks for `/` from 192.0.2.1.
pub(super) fn get() -> Request<Bytes> {
    get_from("192.0.2.1")
}

/// Asks for `/` from an address.
pub(super) fn get_from(address: &str) -> Request<Bytes> {
    let mut request = request(Method::GET, "/");
    let peer = SocketAddr::new(address.parse().unwrap(), 50_000);
    request.extensions_mut().insert(peer);
    request
}

/// Asks from 192.0.2.1 with a method.
pub(super) fn ask_by(method: Method) -> Request<Bytes> {
    let mut request = get();
    *request.method_mut() = method;
    request
}

/// Asks for a path from 192.0.2.1.
pub(super) fn get_path(path: &'static str) -> Request<Bytes> {
    let mut request = get();
    *request.uri_mut() = path.parse().unwrap();
    request
}

/// Asks over a connection of which nobody knows where it comes from.
pub(super) fn get_from_nowhere() -> Request<Bytes> {
    request(Method::GET, "/")
}

/// Adds a line of a header field.
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
