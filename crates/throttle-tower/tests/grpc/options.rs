//! The options with gRPC clients.

use std::time::Duration;

use http::StatusCode;
use throttle_core::{Algorithm, Limiter, Rule};
use throttle_http::{Headers, OnError, identity::RequestPath};
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::sync::mpsc::unbounded_channel;
use tonic::{Code, Request, codegen::tokio_stream::wrappers::UnboundedReceiverStream};
use tonic_types::StatusExt;

use crate::{
    assert_exhausted,
    common::{Failing, Later, Log, limiter},
    layer, on,
    service::{Caller, serve},
};

#[tokio::test]
async fn the_methods_of_a_service_are_limited_separately_by_their_paths() {
    let layer = RateThrottleLayer::new(limiter(MemoryStorage::new(), 1)).key(RequestPath);
    let mut caller = Caller::to(serve(layer).await).await;
    let you = || Request::new("you".to_owned());
    caller.call("/guide.v1.Greeter/Hello", you()).await.unwrap();
    caller.call("/guide.v1.Greeter/Welcome", you()).await.unwrap();
    let status = caller.call("/guide.v1.Greeter/Hello", you()).await.unwrap_err();
    assert_exhausted(&status, 1);
}

#[tokio::test]
async fn the_number_of_open_streams_of_a_client_is_limited() {
    let limiter = limiter(MemoryStorage::new(), 100);
    let streams = limiter.concurrency("streams", 1).unwrap();
    let mut caller = Caller::to(serve(on(limiter).concurrency(streams.clone())).await).await;
    let (sender, messages) = unbounded_channel();
    let mut open = caller.echo(UnboundedReceiverStream::new(messages)).await.unwrap();
    sender.send("a".to_owned()).unwrap();
    assert_eq!(open.message().await.unwrap().as_deref(), Some("a"));

    let status = caller.echo_all(&["b"]).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(status.metadata().get("ratelimit").unwrap(), r#""streams";r=0"#);
    assert_eq!(
        status.message(),
        "the limit \"streams\" allows no more calls in flight; retry when a call has ended"
    );
    let details = String::from_utf8_lossy(status.details());
    assert!(details.contains("the limit \"streams\" allows 1 at once"), "{details:?}");

    drop(sender);
    assert_eq!(open.message().await.unwrap(), None);
    for _ in 0..500 {
        if streams.in_use("127.0.0.1").await.unwrap() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(caller.echo_all(&["c", "d"]).await.unwrap(), 2);
}

#[tokio::test]
async fn a_server_without_the_address_of_the_connection_logs_how_to_set_it() {
    let (log, _guard) = Log::start();
    let layer = RateThrottleLayer::new(limiter(MemoryStorage::new(), 1));
    let status = Caller::to(serve(layer).await).await.hello().await.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert_eq!(status.message(), "The server is not configured to tell clients apart.");
    let logged = log.take();
    let fix = "(tonic: `extensions.get::<TcpConnectInfo>()";
    assert!(logged.contains(fix), "{logged}");
}

#[tokio::test]
async fn a_layer_that_cannot_be_built_is_an_internal_error() {
    let mut caller = Caller::to(serve(layer(1).rule("unknown")).await).await;
    assert_eq!(caller.code().await, Code::Internal);
}

#[tokio::test]
async fn if_the_storage_fails_calls_are_unavailable_or_allowed_or_get_a_custom_response() {
    let failing = || {
        let failing = Failing::default();
        failing.set_down(true);
        on(limiter(failing, 1))
    };
    let status = Caller::to(serve(failing()).await).await.hello().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let wait = status.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(wait, Some(Duration::from_secs(1)));

    let passes = failing().on_error(OnError::Pass);
    let response = Caller::to(serve(passes).await).await.hello().await.unwrap();
    assert_eq!(response.metadata().get("x-ratelimit-degraded").unwrap(), "unlimited");

    let own = failing().on_rejection(|_| (StatusCode::TOO_MANY_REQUESTS, "closed for today"));
    let status = Caller::to(serve(own).await).await.hello().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::ResourceExhausted, "closed for today"));
}

#[tokio::test]
async fn a_storage_that_answers_later_rejects_in_the_same_way() {
    let mut caller = Caller::to(serve(on(limiter(Later::default(), 1))).await).await;
    caller.hello().await.unwrap();
    assert_exhausted(&caller.hello().await.unwrap_err(), 1);
}

#[tokio::test]
async fn calls_that_fail_can_be_refunded_and_others_are_rejected_in_the_same_way() {
    let layer = layer(1).charge_if(|response| response.header("grpc-status") != Some("16"));
    let mut caller = Caller::to(serve(layer).await).await;
    let path = "/guide.v1.Greeter/Hello";
    for _ in 0..2 {
        let status = caller.call(path, Request::new("unknown".to_owned())).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    caller.hello().await.unwrap();
    assert_exhausted(&caller.hello().await.unwrap_err(), 1);
}

#[tokio::test]
async fn a_call_whose_delay_is_too_long_is_rejected_with_the_time_until_it_is_not() {
    let limiter = Limiter::new(MemoryStorage::new());
    let rule = Rule::per_minute("even", 1).algorithm(Algorithm::LeakyBucket).burst(9);
    limiter.add_rule(rule).unwrap();
    let mut caller = Caller::to(serve(on(limiter).shape_at_most(Duration::ZERO)).await).await;
    caller.hello().await.unwrap();
    let status = caller.hello().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let wait = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait <= Duration::from_secs(60) && wait > Duration::from_secs(30), "{wait:?}");
}

#[tokio::test]
async fn a_dry_run_allows_calls_and_marks_them_in_their_metadata() {
    let mut caller = Caller::to(serve(layer(1).dry_run()).await).await;
    let response = caller.hello().await.unwrap();
    assert!(response.metadata().get("x-ratelimit-dry-run").is_none());
    let response = caller.hello().await.unwrap();
    assert_eq!(response.metadata().get("x-ratelimit-dry-run").unwrap(), "denied");
}

#[tokio::test]
async fn without_header_fields_the_details_still_contain_the_retry_delay() {
    let mut caller = Caller::to(serve(layer(1).headers(Headers::none())).await).await;
    let response = caller.hello().await.unwrap();
    assert!(response.metadata().get("ratelimit").is_none());
    let status = caller.hello().await.unwrap_err();
    assert_exhausted(&status, 1);
    assert!(status.metadata().get("retry-after").is_none());
    assert!(status.metadata().get("ratelimit").is_none());
}

#[tokio::test]
async fn a_client_on_the_deny_list_is_denied_permission_with_its_duration_if_it_has_one() {
    let limiter = limiter(MemoryStorage::new(), 9);
    limiter.deny_list().add("127.0.0.1").unwrap();
    let mut caller = Caller::to(serve(on(limiter.clone())).await).await;
    assert_eq!(caller.code().await, Code::PermissionDenied);

    limiter.deny_list().remove("127.0.0.1").unwrap();
    limiter.deny_list().add_for("127.0.0.1", Duration::from_secs(5)).unwrap();
    let status = caller.hello().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.message(), "this client may not use the service for another 5s");
    let details = status.get_error_details();
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(5)));
    assert!(details.quota_failure().is_none(), "no rule denied");
}
