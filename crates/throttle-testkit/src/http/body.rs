//! The bodies of responses: as handlers write them, and as the suite reads them.

use std::{
    error::Error,
    fmt,
    future::poll_fn,
    io,
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::mpsc;

pub(super) type Piece = Result<Bytes, io::Error>;

/// The body of a handler's response.
///
/// It is an [`http_body::Body`] and a [`Stream`] of its pieces, one of which every framework takes. Where the
/// framework distinguishes a body of known length, [`into_bytes`](Self::into_bytes) returns it.
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Option<Bytes>),
    /// The pieces come when the test sends them.
    Sent(mpsc::UnboundedReceiver<Piece>),
    /// One piece comes, and to ask for the next is to panic.
    Panics(Option<Bytes>),
}

impl Body {
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Whole(Some(bytes.into()).filter(|bytes| !bytes.is_empty())))
    }

    pub(super) fn sent() -> (mpsc::UnboundedSender<Piece>, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self(Kind::Sent(receiver)))
    }

    pub(super) fn panics_after(piece: &'static str) -> Self {
        Self(Kind::Panics(Some(Bytes::from_static(piece.as_bytes()))))
    }

    /// Returns the whole body where its length is known.
    ///
    /// # Errors
    ///
    /// The body itself, where it is sent piece by piece.
    pub fn into_bytes(self) -> Result<Bytes, Self> {
        match self.0 {
            Kind::Whole(bytes) => Ok(bytes.unwrap_or_default()),
            _ => Err(self),
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Piece>> {
        match &mut self.0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Kind::Sent(receiver) => receiver.poll_recv(cx),
            Kind::Panics(piece) => match piece.take() {
                Some(piece) => Poll::Ready(Some(Ok(piece))),
                None => resume_unwind(Box::new("on purpose")),
            },
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.poll_next(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            _ => SizeHint::new(),
        }
    }
}

/// The body of a response of an adapter, which the suite reads piece by piece.
///
/// To drop it is to be a client that goes away.
pub struct Reader(Box<Next>);

type Next = dyn FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, Box<dyn Error>>>>;

impl Reader {
    /// Reads a body of the crate `http-body`.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn Error>>,
    {
        let mut body = Box::pin(body);
        Self::from_fn(move |cx| {
            // Servers do not poll a body that says that it has ended.
            if body.is_end_stream() {
                return Poll::Ready(None);
            }
            let piece = |frame: Frame<Bytes>| frame.into_data().ok().map(Ok);
            body.as_mut().poll_frame(cx).map(|frame| match frame? {
                Ok(frame) => piece(frame),
                Err(error) => Some(Err(error.into())),
            })
        })
    }

    /// Reads by a function that returns the next piece, why it fails, or none where the body has ended.
    pub fn from_fn(
        next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, Box<dyn Error>>>> + 'static,
    ) -> Self {
        Self(Box::new(next))
    }

    /// Reads the next piece, why the body fails, or none where it has ended.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Box<dyn Error>>>> {
        (self.0)(cx)
    }

    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Box<dyn Error>>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Reads the next piece, which is there.
    pub(super) async fn piece(&mut self) -> Bytes {
        self.next().await.expect("the body has ended").expect("the body of the response fails")
    }

    /// Reads the response to its end.
    pub(super) async fn whole(response: Response<Self>) -> Response<Bytes> {
        let (head, mut reader) = response.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = reader.next().await {
            body.extend_from_slice(&piece.expect("the body of the response fails"));
        }
        Response::from_parts(head, body.into())
    }
}

impl From<Bytes> for Reader {
    fn from(body: Bytes) -> Self {
        Self::new(Body::whole(body))
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}
