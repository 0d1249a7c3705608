//! Requests that are charged an estimate and settled to what they turned out to cost.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{Extension, Router, body::Body, http::HeaderMap, routing::any};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as _, Frame};
use throttle_core::Limiter;
use throttle_http::{ActualCost, Options};
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{Reader, Streamed, Teller, Told, run_settling};
use throttle_tower::RateThrottleLayer;
use tower::ServiceExt;

use common::Later;

struct Pieces(Streamed);

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_next(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

async fn router(layers: Vec<Options>, limiter: Limiter, teller: Teller) -> Router {
    let handler = async move |fields: HeaderMap, cost: Option<Extension<ActualCost>>| {
        let what = fields.get("x-do").map_or("", |what| what.to_str().unwrap());
        let response = teller.answer(what, cost.map(|Extension(cost)| cost)).await;
        response.map(|told| match told {
            Told::Whole(body) => Body::from(body),
            Told::Streamed(body) => Body::new(Pieces(body)),
        })
    };
    let mut router = Router::new().route("/", any(handler));
    for options in layers {
        router = router.layer(RateThrottleLayer::from_options(&limiter, options).build().unwrap());
    }
    router
}

async fn ask(router: &Router, request: Request<Bytes>) -> Response<Reader> {
    let Ok(response) = router.clone().oneshot(request.map(Body::from)).await;
    response.map(|mut body| {
        Reader::new(move |cx| {
            // Nobody asks a body again that says that it has ended.
            if body.is_end_stream() {
                return Poll::Ready(None);
            }
            Pin::new(&mut body).poll_frame(cx).map(|frame| frame?.ok()?.into_data().ok())
        })
    })
}

#[tokio::test]
async fn requests_are_settled_as_by_every_adapter() {
    run_settling(MemoryStorage::new, router, ask).await;
}

#[tokio::test]
async fn requests_are_settled_as_by_every_adapter_where_the_storage_answers_later() {
    run_settling(Later::default, router, ask).await;
}
