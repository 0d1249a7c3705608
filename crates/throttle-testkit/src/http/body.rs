//! Response bodies: the body of a handler, and the reader of the suite.

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

/// The response body of the handler.
///
/// It implements [`http_body::Body`] and [`Stream`], so every framework can use it. If the framework
/// distinguishes bodies of known length, call [`into_bytes`](Self::into_bytes).
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Option<Bytes>),
    /// A body whose pieces the test sends.
    Sent(mpsc::UnboundedReceiver<Piece>),
    /// A body that panics after its first piece.
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

    /// Returns the whole body if its length is known.
    ///
    /// # Errors
    ///
    /// Returns the body itself if it is sent piece by piece.
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

/// The reader of a response body, piece by piece.
///
/// The suite drops it to simulate a client that disconnects.
pub struct Reader(Box<Next>);

type Next = dyn FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, Box<dyn Error>>>>;

impl Reader {
    /// Creates a reader of an [`http_body::Body`].
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn Error>>,
    {
        let mut body = Box::pin(body);
        Self::from_fn(move |cx| {
            // Servers do not poll a body that reports its end.
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

    /// Creates a reader from a function that returns the next piece, an error, or `None` at the end of the body.
    pub fn from_fn(
        next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, Box<dyn Error>>>> + 'static,
    ) -> Self {
        Self(Box::new(next))
    }

    /// Reads the next piece: returns an error if the body fails, and `None` at its end.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Box<dyn Error>>>> {
        (self.0)(cx)
    }

    pub(super) async fn next(&mut self) -> Option<Result<Bytes, Box<dyn Error>>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Reads the next piece, and panics if there is none.
    pub(super) async fn piece(&mut self) -> Bytes {
        self.next().await.expect("the body has ended").expect("the body of the response failed")
    }

    /// Reads the response to its end.
    pub(super) async fn whole(response: Response<Self>) -> Response<Bytes> {
        let (head, mut reader) = response.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = reader.next().await {
            body.extend_from_slice(&piece.expect("the body of the response failed"));
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
