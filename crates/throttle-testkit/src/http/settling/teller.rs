//! The handler behind an adapter that settles.

use std::{
    io,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use throttle_http::ActualCost;
use tokio::sync::{Notify, mpsc};

use crate::http::BODY;

type Piece = Result<Bytes, io::Error>;
type Sender = (mpsc::UnboundedSender<Piece>, Option<ActualCost>);

/// Says what requests cost, and answers as it is told; clones are the same.
#[derive(Clone, Default, Debug)]
pub struct Teller {
    calls: Arc<AtomicUsize>,
    finish: Arc<Notify>,
    /// The body that is being sent.
    streamed: Arc<Mutex<Option<Sender>>>,
}

/// Is the body of a response of a [`Teller`].
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "adapters make a body of theirs of each")]
pub enum Told {
    /// Is known, and may be empty.
    Whole(Bytes),
    /// Is told piece by piece.
    Streamed(Streamed),
}

/// Is a body whose pieces come when the test sends them.
#[derive(Debug)]
pub struct Streamed(mpsc::UnboundedReceiver<Piece>);

impl Streamed {
    /// Returns the next piece, or why there is none.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, io::Error>>> {
        self.0.poll_recv(cx)
    }
}

impl Teller {
    /// Does what the words say: `cost=4` says that it cost as much; `panic` panics, `wait` never answers, and
    /// `later` when it is let; `tokens=4` is a field of the response, `304` its status, without a body; `stream`
    /// has a body that is sent piece by piece. Whether there is anything to be settled stands in `x-settles`.
    ///
    /// # Panics
    ///
    /// Where it is told to, and where it is told a cost and there is nothing to be settled.
    pub async fn answer(self, what: &str, cost: Option<ActualCost>) -> Response<Told> {
        self.calls.fetch_add(1, SeqCst);
        let settles = if cost.is_some() { "true" } else { "false" };
        let mut response = Response::new(Told::Whole(Bytes::from_static(BODY.as_bytes())));
        response.headers_mut().insert("x-settles", HeaderValue::from_static(settles));
        for word in what.split(' ') {
            match word.split_once('=').unwrap_or((word, "")) {
                ("cost", actual) => {
                    let actual = actual.parse().expect("costs are numbers");
                    cost.as_ref().expect("it is to be settled").set(actual);
                }
                ("tokens", tokens) => {
                    let tokens = HeaderValue::from_str(tokens).expect("it is text");
                    response.headers_mut().insert("x-tokens", tokens);
                }
                ("panic", _) => resume_unwind(Box::new("on purpose")),
                ("wait", _) => std::future::pending().await,
                ("later", _) => self.finish.notified().await,
                ("304", _) => {
                    *response.status_mut() = StatusCode::NOT_MODIFIED;
                    *response.body_mut() = Told::Whole(Bytes::new());
                }
                ("stream", _) => {
                    let (sender, receiver) = mpsc::unbounded_channel();
                    *self.sender() = Some((sender, cost.clone()));
                    *response.body_mut() = Told::Streamed(Streamed(receiver));
                }
                _ => {}
            }
        }
        response
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    pub(super) fn finish(&self) {
        self.finish.notify_one();
    }

    /// Sends a piece, whether or not it is read.
    pub(super) fn send(&self, piece: &'static str) {
        self.send_or_fail(Ok(Bytes::from_static(piece.as_bytes())));
    }

    /// Breaks the body that is being sent.
    pub(super) fn fail(&self) {
        self.send_or_fail(Err(io::Error::other("the disk is gone")));
    }

    /// Adds to what the request whose body is being sent costs.
    pub(super) fn add(&self, cost: u64) {
        self.cost().add(cost);
    }

    pub(super) fn cost(&self) -> ActualCost {
        let sender = self.sender();
        sender.as_ref().and_then(|(_, cost)| cost.clone()).expect("a body that is settled")
    }

    /// Ends the body that is being sent.
    pub(super) fn end(&self) {
        *self.sender() = None;
    }

    fn send_or_fail(&self, piece: Piece) {
        if let Some((sender, _)) = &*self.sender() {
            _ = sender.send(piece);
        }
    }

    fn sender(&self) -> std::sync::MutexGuard<'_, Option<Sender>> {
        self.streamed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
