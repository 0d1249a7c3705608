//! A gRPC service that rejects calls with `RESOURCE_EXHAUSTED`, and a client that respects `RetryInfo`.
//!
//! `cargo run --features grpc --example grpc` serves on 127.0.0.1:3000, and sends some calls to itself.

mod greeter;

use std::{error::Error, net::SocketAddr};

use ratethrottle::{
    Algorithm, ClientIp, Header, Limiter, MemoryStorage, RateThrottleLayer, Rule,
    identity::OnMissing,
};
use tonic::{
    Code, Request, Status,
    transport::{
        Server,
        server::{TcpConnectInfo, TcpIncoming},
    },
};
use tonic_types::StatusExt;

use greeter::{Greeter, GreeterClient};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let address: SocketAddr = "127.0.0.1:3000".parse()?;
    let incoming = TcpIncoming::bind(address)?;
    println!("listening on {address}: /guide.v1.Greeter/Hello, and the health service");
    let server = tokio::spawn(serve(incoming, layer(&limiter()?)?));

    let mut client = GreeterClient::connect(address).await?;
    for n in 1..=8 {
        println!("{n}: {}", hello_with_retry(&mut client, "k-42").await?);
    }
    server.await??;
    Ok(())
}

/// Returns the rule: two calls per second, with a burst of five.
fn rule() -> Rule {
    Rule::per_second("calls", 2).algorithm(Algorithm::TokenBucket).burst(5)
}

fn limiter() -> Result<Limiter, ratethrottle::Error> {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(rule())?;
    Ok(limiter)
}

/// Limits callers by the API key in their metadata, and callers without a key by address.
fn layer(limiter: &Limiter) -> Result<RateThrottleLayer, Box<dyn Error>> {
    let layer = RateThrottleLayer::new(limiter)
        .key(Header::new("x-api-key").missing(OnMissing::ClientIp(ClientIp::new())))
        // Tonic stores the peer address in this extension.
        .peer(|extensions| extensions.get::<TcpConnectInfo>()?.remote_addr())
        .exempt_grpc_health()
        .exempt_grpc_reflection()
        .build()?;
    Ok(layer)
}

async fn serve(
    incoming: TcpIncoming,
    layer: RateThrottleLayer,
) -> Result<(), tonic::transport::Error> {
    let (_, health) = tonic_health::server::health_reporter();
    let server = Server::builder().layer(layer).add_service(Greeter).add_service(health);
    server.serve_with_incoming(incoming).await
}

/// Retries as long as the server returns a delay.
async fn hello_with_retry(client: &mut GreeterClient, api_key: &str) -> Result<String, Status> {
    loop {
        let rejected = match hello(client, api_key).await {
            Err(status) if status.code() == Code::ResourceExhausted => status,
            result => return result,
        };
        let Some(wait) = rejected.get_details_retry_info().and_then(|info| info.retry_delay) else {
            return Err(rejected); // the call can never be allowed
        };
        println!("   {}", rejected.message());
        tokio::time::sleep(wait).await;
    }
}

async fn hello(client: &mut GreeterClient, api_key: &str) -> Result<String, Status> {
    let mut request = Request::new("you".to_owned());
    let api_key = api_key.parse().map_err(|_| Status::invalid_argument("invalid API key"))?;
    request.metadata_mut().insert("x-api-key", api_key);
    client.hello(request).await
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        time::{Duration, SystemTime},
    };

    use ratethrottle::ManualClock;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

    use super::*;
    use crate::greeter::channel;

    async fn start(limiter: &Limiter) -> SocketAddr {
        let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = incoming.local_addr().unwrap();
        tokio::spawn(serve(incoming, layer(limiter).unwrap()));
        address
    }

    fn with_manual_clock() -> (ManualClock, Limiter) {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
        let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
        limiter.add_rule(rule()).unwrap();
        (clock, limiter)
    }

    #[tokio::test]
    async fn the_sixth_call_is_resource_exhausted_and_allowed_after_retry_info() {
        let (clock, limiter) = with_manual_clock();
        let mut client = GreeterClient::connect(start(&limiter).await).await.unwrap();
        for _ in 0..5 {
            assert_eq!(hello(&mut client, "a").await.unwrap(), "hello you");
        }
        let rejected = hello(&mut client, "a").await.unwrap_err();
        assert_eq!(rejected.code(), Code::ResourceExhausted);
        assert_eq!(rejected.message(), r#"the limit "calls" is used up; retry in 500ms"#);
        let wait = rejected.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert_eq!(wait, Duration::from_millis(500));
        hello(&mut client, "b").await.unwrap();

        clock.advance(wait);
        hello(&mut client, "a").await.unwrap();
        assert_eq!(hello(&mut client, "a").await.unwrap_err().code(), Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn callers_without_a_key_are_limited_by_address_and_health_checks_are_exempt() {
        let (_, limiter) = with_manual_clock();
        let address = start(&limiter).await;
        let mut client = GreeterClient::connect(address).await.unwrap();
        let mut anonymous = async || client.hello(Request::new("you".to_owned())).await;
        for _ in 0..5 {
            anonymous().await.unwrap();
        }
        assert_eq!(anonymous().await.unwrap_err().code(), Code::ResourceExhausted);
        let mut health = HealthClient::new(channel(address).await.unwrap());
        for _ in 0..9 {
            health.check(HealthCheckRequest::default()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_client_that_retries_is_allowed() {
        let mut client = GreeterClient::connect(start(&limiter().unwrap()).await).await.unwrap();
        for _ in 0..6 {
            assert_eq!(hello_with_retry(&mut client, "k").await.unwrap(), "hello you");
        }
    }
}
