//! Clients other than hyper's: reqwest, called directly and as a service, and tonic.

use std::{net::Ipv4Addr, pin::pin, time::Duration};

use http::{Request, uri::PathAndQuery};
use throttle_http::identity::Global;
use throttle_memory::MemoryStorage;
use throttle_tower::{OutboundError, OutboundService, RateThrottleLayer};
use tonic::{
    Status,
    client::Grpc,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::{clock, limiter, outbound, serve_limit, waits};

#[tokio::test]
async fn reqwest_is_limited_by_direct_calls() {
    let clock = clock();
    let address = serve_limit(&clock, 1).await;
    let outbound = outbound(&clock, 100).respect_retry_after();
    let client = reqwest::Client::new();
    let get = async || {
        let permit = outbound.wait_for("the server").await?;
        let response = client.get(format!("http://{address}/")).send().await.unwrap();
        permit.observe_response(response.status(), response.headers());
        Ok::<_, OutboundError>(response.status())
    };
    assert_eq!(get().await.unwrap(), 200);
    let mut next = pin!(get());
    assert!(waits(next.as_mut()).await);
    clock.advance(Duration::from_secs(60));
    assert_eq!(next.await.unwrap(), 200);
}

#[tokio::test]
async fn reqwest_is_limited_as_a_service() {
    let clock = clock();
    let address = serve_limit(&clock, 100).await;
    let client = reqwest::Client::new();
    let send = service_fn(move |request: Request<reqwest::Body>| {
        let client = client.clone();
        async move {
            let response = client.execute(request.try_into()?).await?;
            Ok::<_, BoxError>(http::Response::<reqwest::Body>::from(response))
        }
    });
    let outbound = outbound(&clock, 1).max_wait(Duration::ZERO).build().unwrap();
    let mut client = outbound.layer(send);
    let request =
        || Request::get(format!("http://{address}/")).body(reqwest::Body::default()).unwrap();
    assert_eq!(client.ready().await.unwrap().call(request()).await.unwrap().status(), 200);
    let error = client.ready().await.unwrap().call(request()).await.unwrap_err();
    assert!(error.is::<OutboundError>(), "{error}");
}

#[tokio::test]
async fn a_grpc_client_respects_the_pause_of_a_grpc_server() {
    let clock = clock();
    let server = limiter(&clock, MemoryStorage::new(), 1);
    let layer = RateThrottleLayer::new(server).key(Global);
    let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = incoming.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::builder().layer(layer).add_service(health);
    tokio::spawn(server.serve_with_incoming(incoming));

    let channel =
        Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let outbound = outbound(&clock, 100).key(Global).respect_retry_after();
    let limited = ServiceBuilder::new().layer(outbound.build().unwrap()).service(channel);
    let check = async |mut client: Grpc<OutboundService<Channel>>| -> Result<(), Status> {
        client.ready().await.map_err(Status::from_error)?;
        let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
        let codec = ProstCodec::<(), ()>::default();
        client.unary(tonic::Request::new(()), path, codec).await.map(drop)
    };
    check(Grpc::new(limited.clone())).await.unwrap();
    let mut next = pin!(check(Grpc::new(limited)));
    assert!(waits(next.as_mut()).await);
    clock.advance(Duration::from_secs(60));
    next.await.unwrap();
}
