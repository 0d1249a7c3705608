//! A response body with a guard.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use http::{HeaderMap, header::CONTENT_LENGTH};
use pin_project_lite::pin_project;
use throttle_http::BodyGuard;

pin_project! {
    /// A body that drops the guard when it has ended or failed, or is dropped.
    struct GuardedBody<B> {
        #[pin]
        body: B,
        guard: Option<BodyGuard>,
    }
}

/// Wraps a body, and keeps the guard until it has ended.
pub(crate) fn guarded<B: MessageBody + 'static>(body: B, guard: BodyGuard) -> BoxBody {
    BoxBody::new(GuardedBody { body, guard: Some(guard) })
}

impl<B: MessageBody> MessageBody for GuardedBody<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, B::Error>>> {
        let this = self.project();
        let chunk = ready!(this.body.poll_next(cx));
        match (&this.guard, &chunk) {
            (Some(guard), Some(Ok(chunk))) => guard.sent(chunk.len()),
            _ => drop(this.guard.take()),
        }
        Poll::Ready(chunk)
    }
}

/// The body of a response to `HEAD`: its length is sent, and nothing else.
struct LengthOnly(u64);

/// Returns the body of a rejection. If it is empty, it reports the length in the header field, because actix-http
/// overwrites that field with the length of the body.
pub(crate) fn of_rejection(body: Bytes, headers: &HeaderMap) -> BoxBody {
    let length = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    match body.is_empty().then(length).flatten() {
        Some(length) => BoxBody::new(LengthOnly(length)),
        None => BoxBody::new(body),
    }
}

impl MessageBody for LengthOnly {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(None)
    }
}
