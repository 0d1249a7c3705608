//! Response bodies: their length and end are visible to the server, and the handler's body is unchanged.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use throttle_core::Limiter;
use throttle_memory::MemoryStorage;
use throttle_tower::{RateThrottleLayer, ResponseBody};
use tower::{Layer, ServiceExt, service_fn};

use common::{get_plain, limiter};

/// A body with one frame, which then fails.
#[derive(Default, Debug)]
struct Broken {
    begun: bool,
}

impl Body for Broken {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let frame = match std::mem::replace(&mut self.begun, true) {
            false => Ok(Frame::data(Bytes::from_static(b"half"))),
            true => Err("disk failure"),
        };
        Poll::Ready(Some(frame))
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(3);
        hint.set_upper(9);
        hint
    }
}

/// Returns the body of the first response, or of the second, which is a rejection.
async fn body_of<B: 'static>(
    layer: RateThrottleLayer,
    make: fn() -> B,
    rejected: bool,
) -> ResponseBody<B> {
    let inner = service_fn(move |_: Request<Full<Bytes>>| async move {
        Ok::<_, Infallible>(Response::new(make()))
    });
    let service = layer.layer(inner);
    let Ok(first) = service.clone().oneshot(get_plain()).await;
    if !rejected {
        return first.into_body();
    }
    let Ok(second) = service.oneshot(get_plain()).await;
    second.into_body()
}

fn layer() -> RateThrottleLayer {
    RateThrottleLayer::new(limiter(MemoryStorage::new(), 1))
}

#[tokio::test]
async fn a_rejection_is_one_frame_of_known_length_and_ends_with_it() {
    let mut body = body_of(layer(), Broken::default, true).await;
    assert!(!body.is_end_stream());
    let length = body.size_hint().exact().expect("a length");
    let data = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(data.starts_with(b"{\"type\":") && data.len() as u64 == length);
    assert!(body.is_end_stream() && body.size_hint().exact() == Some(0));
    assert!(body.frame().await.is_none() && body.frame().await.is_none());
}

#[tokio::test]
async fn a_rejection_without_a_body_has_ended_from_the_start() {
    let layer = layer().on_rejection(|_| ());
    let mut body = body_of(layer, Broken::default, true).await;
    assert!(body.is_end_stream() && body.size_hint().exact() == Some(0));
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn the_length_and_the_errors_of_the_handlers_body_are_unchanged() {
    let mut body = body_of(layer(), Broken::default, false).await;
    assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (3, Some(9)));
    assert!(!body.is_end_stream());
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    assert_eq!(body.frame().await.unwrap().unwrap_err(), "disk failure");
    let empty = body_of(layer(), Full::<Bytes>::default, false).await;
    assert!(empty.is_end_stream() && empty.size_hint().exact() == Some(0));
}

#[tokio::test]
async fn the_trailers_of_the_handlers_body_are_unchanged() {
    let make = || {
        let trailers = async {
            let mut map = HeaderMap::new();
            map.insert("grpc-status", "0".parse().unwrap());
            Some(Ok(map))
        };
        Full::<Bytes>::from("hello")
            .with_trailers(Box::pin(trailers) as Pin<Box<dyn Future<Output = _>>>)
    };
    let whole = body_of(layer(), make, false).await.collect().await.unwrap();
    assert_eq!(whole.trailers().unwrap()["grpc-status"], "0");
    assert_eq!(whole.to_bytes(), "hello");
}

#[tokio::test]
async fn a_permit_is_released_with_the_last_frame_of_a_body_that_reports_its_end() {
    let limiter = Limiter::new(MemoryStorage::new());
    let uploads = limiter.concurrency("uploads", 1).unwrap();
    let layer = RateThrottleLayer::new(limiter).concurrency(uploads.clone());
    let mut body = body_of(layer, || Full::<Bytes>::from("hello"), false).await;
    assert_eq!(uploads.in_use("192.0.2.1").await.unwrap(), 1);
    body.frame().await.unwrap().unwrap();
    assert_eq!(uploads.in_use("192.0.2.1").await.unwrap(), 0, "no other frame is polled");
}
