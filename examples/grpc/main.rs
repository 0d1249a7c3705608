//! A gRPC service that refuses in gRPC's own words, and a client that comes back when it was told to.
//!
//! `cargo run --features grpc --example grpc` serves on 127.0.0.1:3000, and calls itself for a while.

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
        println!("{n}: {}", hello_patiently(&mut client, "k-42").await?);
    }
    server.await??;
    Ok(())
}

/// Five calls at once, then two a second.
fn rule() -> Rule {
    Rule::per_second("calls", 2).algorithm(Algorithm::TokenBucket).burst(5)
}

fn limiter() -> Result<Limiter, ratethrottle::Error> {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(rule())?;
    Ok(limiter)
}

/// Tells callers apart by their metadata, those without a key by their address.
fn layer(limiter: &Limiter) -> Result<RateThrottleLayer, Box<dyn Error>> {
    let layer = RateThrottleLayer::new(limiter)
        .key(Header::new("x-api-key").missing(OnMissing::ClientIp(ClientIp::new())))
        // Where tonic leaves the address of the connection.
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

/// Comes back for as long as the server says when.
async fn hello_patiently(client: &mut GreeterClient, api_key: &str) -> Result<String, Status> {
    loop {
        let refused = match hello(client, api_key).await {
            Err(status) if status.code() == Code::ResourceExhausted => status,
            answer => return answer,
        };
        let Some(wait) = refused.get_details_retry_info().and_then(|info| info.retry_delay) else {
            return Err(refused); // no wait helps
        };
        println!("   {}", refused.message());
        tokio::time::sleep(wait).await;
    }
}

async fn hello(client: &mut GreeterClient, api_key: &str) -> Result<String, Status> {
    let mut request = Request::new("you".to_owned());
    let api_key = api_key.parse().map_err(|_| Status::invalid_argument("no such key"))?;
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

    fn standing_still() -> (ManualClock, Limiter) {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
        let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
        limiter.add_rule(rule()).unwrap();
        (clock, limiter)
    }

    #[tokio::test]
    async fn the_sixth_call_is_resource_exhausted_and_passes_after_what_retry_info_says() {
        let (clock, limiter) = standing_still();
        let mut client = GreeterClient::connect(start(&limiter).await).await.unwrap();
        for _ in 0..5 {
            assert_eq!(hello(&mut client, "a").await.unwrap(), "hello you");
        }
        let refused = hello(&mut client, "a").await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(refused.message(), r#"the limit "calls" is used up; retry in 500ms"#);
        let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert_eq!(wait, Duration::from_millis(500));
        hello(&mut client, "b").await.unwrap();

        clock.advance(wait);
        hello(&mut client, "a").await.unwrap();
        assert_eq!(hello(&mut client, "a").await.unwrap_err().code(), Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn callers_without_a_key_are_told_apart_by_their_address_and_health_checks_pass() {
        let (_, limiter) = standing_still();
        let address = start(&limiter).await;
        let mut client = GreeterClient::connect(address).await.unwrap();
        let mut anybody = async || client.hello(Request::new("you".to_owned())).await;
        for _ in 0..5 {
            anybody().await.unwrap();
        }
        assert_eq!(anybody().await.unwrap_err().code(), Code::ResourceExhausted);
        let mut health = HealthClient::new(channel(address).await.unwrap());
        for _ in 0..9 {
            health.check(HealthCheckRequest::default()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_patient_client_is_answered_in_the_end() {
        let mut client = GreeterClient::connect(start(&limiter().unwrap()).await).await.unwrap();
        for _ in 0..6 {
            assert_eq!(hello_patiently(&mut client, "k").await.unwrap(), "hello you");
        }
    }
}
