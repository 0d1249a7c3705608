//! The body of the handler's response or of a rejection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::throttle::BodyGuard;

pin_project! {
    /// The body of a handler's response with its [`BodyGuard`], or the body of a [`Rejection`](crate::Rejection).
    ///
    /// It reports the sent bytes to the guard. The guard is dropped with the last frame or when the body fails,
    /// not with the body itself, because servers may keep the body longer. Length, trailers and errors are
    /// those of the handler's body.
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
        Rejection { body: Option<Bytes> },
        Guarded { #[pin] body: B, guard: Option<BodyGuard> },
    }
}

impl<B> ResponseBody<B> {
    /// Wraps the body of a handler's response, and keeps the guard that [`Done::write`](crate::Done::write)
    /// returns until the body ends.
    #[inline]
    #[must_use]
    pub fn inner(body: B, guard: Option<BodyGuard>) -> Self {
        match guard {
            None => Self { kind: Kind::Inner { body } },
            guard => Self { kind: Kind::Guarded { body, guard } },
        }
    }

    /// Creates the body of a rejection: one frame of known length, or no frame.
    #[must_use]
    pub fn rejection(body: Bytes) -> Self {
        Self { kind: Kind::Rejection { body: Some(body).filter(|body| !body.is_empty()) } }
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
            KindProjection::Rejection { body } => Poll::Ready(body.take().map(Frame::data).map(Ok)),
            KindProjection::Guarded { body, guard } => poll_guarded(body, guard, cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner { body } | Kind::Guarded { body, .. } => body.is_end_stream(),
            Kind::Rejection { body } => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner { body } | Kind::Guarded { body, .. } => body.size_hint(),
            Kind::Rejection { body } => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
        }
    }
}

/// Polls a body, and drops the guard after the last frame or an error.
fn poll_guarded<B: Body<Data = Bytes>>(
    mut body: Pin<&mut B>,
    guard: &mut Option<BodyGuard>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
    let frame = ready!(body.as_mut().poll_frame(cx));
    if let (Some(guard), Some(Ok(frame))) = (&guard, &frame) {
        guard.sent(frame.data_ref().map_or(0, Bytes::len));
    }
    // A server may never poll a body again after it has reported its end, so the guard cannot wait for `None`.
    if !matches!(frame, Some(Ok(_))) || body.is_end_stream() {
        drop(guard.take());
    }
    Poll::Ready(frame)
}
