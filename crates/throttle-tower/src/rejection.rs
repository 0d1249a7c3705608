//! The response of an axum or other Tower service to a rejected request.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum_core::{body::Body, response::IntoResponse};
use bytes::{Bytes, BytesMut};
use http::Response;
use http_body::Body as _;

/// Converts a response of the user's function.
pub(crate) fn to_bytes(response: impl IntoResponse) -> Response<Bytes> {
    response.into_response().map(|body| {
        collect_ready(body).unwrap_or_else(|| {
            tracing::error!(
                target: "ratethrottle::rejection",
                "the body of a rejection is not available at once, so it is sent without a body: return a complete \
                 body from `on_rejection`, not a stream"
            );
            Bytes::new()
        })
    })
}

/// Returns the whole body, if it is ready.
fn collect_ready(body: Body) -> Option<Bytes> {
    let mut body = pin!(body);
    let mut context = Context::from_waker(Waker::noop());
    let mut whole = BytesMut::new();
    loop {
        match body.as_mut().poll_frame(&mut context) {
            Poll::Ready(None) => return Some(whole.freeze()),
            Poll::Ready(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data() {
                    whole.extend_from_slice(&data);
                }
            }
            Poll::Ready(Some(Err(_))) | Poll::Pending => return None,
        }
    }
}
