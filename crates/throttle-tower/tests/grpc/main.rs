//! The layer on real gRPC servers, with real clients over TCP.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "../common/mod.rs"]
mod common;
mod options;
mod service;

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use axum::routing::get;
use http::{HeaderMap, Request as HttpRequest};
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo};
use throttle_core::{Algorithm, Limiter, ManualClock, Rule};
use throttle_http::identity::Header;
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::mpsc::unbounded_channel,
};
use tonic::{
    Code, Request, Status,
    codegen::tokio_stream::{iter, wrappers::UnboundedReceiverStream},
    service::{LayerExt, Routes},
    transport::{
        Server,
        server::{TcpConnectInfo, TcpIncoming},
    },
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

use common::{begin, limiter};
use service::{Caller, Greeter, channel, serve};

/// Returns a layer that knows the address of the connection.
pub(crate) fn layer(limit: u64) -> RateThrottleLayer {
    on(limiter(MemoryStorage::new(), limit))
}

pub(crate) fn on(limiter: Limiter) -> RateThrottleLayer {
    RateThrottleLayer::new(limiter)
        .peer(|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr())
}

/// Asserts that a call was rejected because this limit a minute is used up.
#[track_caller]
pub(crate) fn assert_exhausted(status: &Status, limit: i64) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let details = status.get_error_details();
    assert_eq!(details.retry_info().unwrap().retry_delay, Some(Duration::from_secs(60)));
    let [violation] = &details.quota_failure().unwrap().violations[..] else { panic!("one rule") };
    assert_eq!(violation.description, format!("the limit \"api\" allows {limit} in 60s"));
    assert_eq!((&*violation.quota_id, violation.quota_value), ("api", limit));
}

#[tokio::test]
async fn a_unary_call_beyond_the_limit_is_resource_exhausted_with_a_retry_delay() {
    let clock = ManualClock::at(begin());
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
    let rule = Rule::per_minute("api", 2).algorithm(Algorithm::FixedWindow);
    limiter.add_rule(rule).unwrap();
    let mut caller = Caller::to(serve(on(limiter)).await).await;

    let response = caller.hello().await.unwrap();
    assert_eq!(response.metadata().get("ratelimit").unwrap(), r#""api";r=1;t=60"#);
    assert_eq!(response.into_inner(), "hello you");
    caller.hello().await.unwrap();

    let status = caller.hello().await.unwrap_err();
    assert_exhausted(&status, 2);
    assert_eq!(status.message(), r#"the limit "api" is used up; retry in 60s"#);
    assert_eq!(status.metadata().get("retry-after").unwrap(), "60");
    assert_eq!(status.metadata().get("ratelimit").unwrap(), r#""api";r=0;t=60"#);

    clock.advance(Duration::from_millis(58_500));
    let wait = caller.hello().await.unwrap_err().get_details_retry_info().unwrap().retry_delay;
    assert_eq!(wait, Some(Duration::from_millis(1_500)));
    clock.advance(Duration::from_millis(1_500));
    caller.hello().await.unwrap();
}

#[tokio::test]
async fn the_details_name_exactly_the_rules_that_deny() {
    let limiter = limiter(MemoryStorage::new(), 1);
    limiter.add_rule(Rule::per_day("100 % \"daily\"", 1)).unwrap();
    limiter.add_rule(Rule::per_day("ample", 100)).unwrap();
    let mut caller = Caller::to(serve(on(limiter)).await).await;
    caller.hello().await.unwrap();
    let status = caller.hello().await.unwrap_err();
    assert!(status.message().starts_with(r#"the limit "100 % \"daily\"" is used up"#), "{status}");
    let failure = status.get_details_quota_failure().unwrap();
    let violations: Vec<_> = failure.violations.iter().map(|one| &*one.description).collect();
    let daily = r#"the limit "100 % \"daily\"" allows 1 in 86400s"#;
    assert_eq!(violations, [daily, r#"the limit "api" allows 1 in 60s"#]);
}

#[tokio::test]
async fn a_stream_is_counted_when_it_opens_and_its_messages_are_not() {
    let mut caller = Caller::to(serve(layer(2)).await).await;
    assert_eq!(caller.echo_all(&["a", "b", "c"]).await.unwrap(), 3);
    let (sender, messages) = unbounded_channel();
    let mut open = caller.echo(UnboundedReceiverStream::new(messages)).await.unwrap();

    assert_exhausted(&caller.echo_all(&["d"]).await.unwrap_err(), 2);
    assert_exhausted(&caller.hello().await.unwrap_err(), 2);

    sender.send("e".to_owned()).unwrap();
    assert_eq!(open.message().await.unwrap().as_deref(), Some("e"), "an open stream continues");
}

#[tokio::test]
async fn a_stream_from_the_server_is_rejected_when_it_is_requested() {
    let address = serve(layer(1)).await;
    let mut health = HealthClient::new(channel(address).await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    assert_exhausted(&health.watch(HealthCheckRequest::default()).await.unwrap_err(), 1);
}

#[tokio::test]
async fn the_health_service_is_not_limited_if_it_is_exempt() {
    let address = serve(layer(1).exempt_grpc_health()).await;
    let mut caller = Caller::to(address).await;
    caller.hello().await.unwrap();
    let mut health = HealthClient::new(channel(address).await);
    for _ in 0..3 {
        health.check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(caller.code().await, Code::ResourceExhausted);
    }
}

#[tokio::test]
async fn the_reflection_service_is_not_limited_if_it_is_exempt() {
    use tonic_reflection::pb::{v1, v1alpha};

    macro_rules! list {
        ($version:ident, $address:expr) => {{
            let ask =
                $version::server_reflection_request::MessageRequest::ListServices("".to_owned());
            let ask = $version::ServerReflectionRequest {
                host: "".to_owned(),
                message_request: Some(ask),
            };
            let channel = channel($address).await;
            let mut client =
                $version::server_reflection_client::ServerReflectionClient::new(channel);
            let mut answers = client.server_reflection_info(iter([ask])).await?.into_inner();
            Ok::<_, Status>(format!("{:?}", answers.message().await?))
        }};
    }
    let list_v1 = async |address| list!(v1, address);
    let list_v1alpha = async |address| list!(v1alpha, address);

    let exempt = serve(layer(1).exempt_grpc_reflection()).await;
    let mut caller = Caller::to(exempt).await;
    caller.hello().await.unwrap();
    for _ in 0..3 {
        for answer in [list_v1(exempt).await, list_v1alpha(exempt).await] {
            let answer = answer.unwrap();
            assert!(answer.contains("grpc.health.v1.Health"), "{answer}");
        }
        assert_eq!(caller.code().await, Code::ResourceExhausted);
    }

    let limited = serve(layer(1)).await;
    list_v1(limited).await.unwrap();
    assert_exhausted(&list_v1(limited).await.unwrap_err(), 1);
    assert_exhausted(&list_v1alpha(limited).await.unwrap_err(), 1);
}

#[tokio::test]
async fn calls_are_limited_by_their_metadata() {
    let layer = RateThrottleLayer::new(limiter(MemoryStorage::new(), 1));
    let mut caller = Caller::to(serve(layer.key(Header::new("x-api-key"))).await).await;
    let hello = |key: &'static str| {
        let mut request = Request::new("you".to_owned());
        request.metadata_mut().insert("x-api-key", key.parse().unwrap());
        request
    };
    let path = "/guide.v1.Greeter/Hello";
    caller.call(path, hello("a")).await.unwrap();
    assert_exhausted(&caller.call(path, hello("a")).await.unwrap_err(), 1);
    caller.call(path, hello("b")).await.unwrap();

    let status = caller.hello().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), r#"the request has no header field "x-api-key", or it is empty"#);
}

#[tokio::test]
async fn a_rejection_consists_of_header_fields_and_the_end_of_the_stream() {
    let address = serve(layer(1)).await;
    Caller::to(address).await.hello().await.unwrap();
    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = HttpRequest::post(format!("http://{address}/guide.v1.Greeter/Hello"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    let body = http_body_util::Empty::<bytes::Bytes>::new();
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/grpc");
    assert_eq!(response.headers()["grpc-status"], "8");
    assert!(http_body::Body::is_end_stream(response.body()));
    let rest = response.into_body().collect().await.unwrap();
    assert_eq!(rest.trailers(), None::<&HeaderMap>);
}

#[tokio::test]
async fn one_service_of_several_is_limited() {
    let limited = layer(1).named_layer(Greeter);
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Server::builder().add_service(limited).add_service(health);
    tokio::spawn(server.serve_with_incoming(incoming));

    let mut caller = Caller::to(address).await;
    caller.hello().await.unwrap();
    assert_exhausted(&caller.hello().await.unwrap_err(), 1);
    let mut health = HealthClient::new(channel(address).await);
    health.check(HealthCheckRequest::default()).await.unwrap();
}

/// Needs no `peer` option, because axum provides the address of the connection.
#[tokio::test]
async fn an_axum_server_of_grpc_and_http_answers_each_client_in_its_protocol() {
    let layer = RateThrottleLayer::new(limiter(MemoryStorage::new(), 1));
    let router = Routes::new(Greeter).into_axum_router();
    let app = router.route("/", get(|| async { "hello" })).layer(layer);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, app).await.unwrap() });

    let mut caller = Caller::to(address).await;
    caller.hello().await.unwrap();
    assert_exhausted(&caller.hello().await.unwrap_err(), 1);

    let io = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = HttpRequest::get("/").header("host", "localhost");
    let body = http_body_util::Empty::<bytes::Bytes>::new();
    let response = sender.send_request(request.body(body).unwrap()).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
}
