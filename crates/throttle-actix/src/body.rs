//! The body of a response for which something is held until it has ended.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use pin_project_lite::pin_project;
use throttle_http::Hold;

pin_project! {
    /// Lets go what is held when the body has ended or failed, or is dropped.
    struct HeldBody<B> {
        #[pin]
        body: B,
        hold: Option<Box<Hold>>,
    }
}

/// Keeps what is held until the body has ended.
pub(crate) fn held<B: MessageBody + 'static>(body: B, hold: Box<Hold>) -> BoxBody {
    BoxBody::new(HeldBody { body, hold: Some(hold) })
}

impl<B: MessageBody> MessageBody for HeldBody<B> {
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
        match (&this.hold, &chunk) {
            (Some(hold), Some(Ok(chunk))) => hold.sent(chunk.len()),
            _ => drop(this.hold.take()),
        }
        Poll::Ready(chunk)
    }
}
