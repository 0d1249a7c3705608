//! The body of a response: the handler's, or that of a refusal.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use throttle_http::Hold;

pin_project! {
    /// Is the body of the inner service's response, or of a refusal.
    #[derive(Debug)]
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    #[derive(Debug)]
    enum Kind<B> {
        Inner { #[pin] body: B },
        Refusal { body: Option<Bytes> },
        Held { #[pin] body: B, hold: Option<Box<Hold>> },
    }
}

impl<B> ResponseBody<B> {
    pub(crate) fn inner(body: B) -> Self {
        Self { kind: Kind::Inner { body } }
    }

    /// Keeps what is held until the body has ended.
    pub(crate) fn held(body: B, hold: Box<Hold>) -> Self {
        Self { kind: Kind::Held { body, hold: Some(hold) } }
    }

    pub(crate) fn refusal(body: Bytes) -> Self {
        Self { kind: Kind::Refusal { body: Some(body).filter(|body| !body.is_empty()) } }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().kind.project() {
            KindProjection::Inner { body } => body.poll_frame(cx),
            KindProjection::Refusal { body } => Poll::Ready(body.take().map(Frame::data).map(Ok)),
            KindProjection::Held { body, hold } => poll_held(body, hold, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } | Kind::Held { body, .. } => body.is_end_stream(),
            Kind::Refusal { body } => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } | Kind::Held { body, .. } => body.size_hint(),
            Kind::Refusal { body } => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
        }
    }
}

/// Polls a body, and lets go what is held at its last frame, or where it failed.
fn poll_held<B: Body<Data = Bytes>>(
    mut body: Pin<&mut B>,
    hold: &mut Option<Box<Hold>>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
    let frame = ready!(body.as_mut().poll_frame(cx));
    if let (Some(hold), Some(Ok(frame))) = (&hold, &frame) {
        hold.sent(frame.data_ref().map_or(0, Bytes::len));
    }
    // Nobody asks a body again that says that it has ended.
    if !matches!(frame, Some(Ok(_))) || body.is_end_stream() {
        drop(hold.take());
    }
    Poll::Ready(frame)
}
