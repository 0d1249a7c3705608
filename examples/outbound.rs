//! Limits for outbound HTTP requests: calls are queued, and the client respects the `Retry-After` of the server.
//!
//! `cargo run --features outbound --example outbound` starts a service with a limit, and calls it by the client of
//! hyper and by reqwest.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{
    Router,
    body::Bytes,
    http::{Request, StatusCode},
    routing::get,
};
use http_body_util::Empty;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ratethrottle::{
    Algorithm, Limiter, MemoryStorage, OutboundLimiter, RateThrottleLayer, Rule,
    outbound::{BoxError, OutboundError, OutboundService},
};
use tokio::{net::TcpListener, time::Instant};
use tower::{Layer, Service, ServiceExt, service_fn};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    tracing_subscriber::fmt::init();
    let partner = serve(&Limiter::new(MemoryStorage::new())).await?;
    let outbound = outbound(&Limiter::new(MemoryStorage::new()))?;
    let begin = Instant::now();
    let log = move |what: String| println!("{:>4} ms  {what}", begin.elapsed().as_millis());

    println!("twelve calls by hyper, at most ten per second; the server allows a burst of five:");
    let client = hyper_client(outbound.clone());
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move {
                call(client, partner).await.map(|status| log(status.to_string()))
            })
        })
        .collect();
    for call in calls {
        call.await??;
    }

    println!("a second later, three calls by reqwest that must not wait, with the same limit:");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let no_wait =
        outbound.max_wait(Duration::ZERO).respect_retry_after().pass_on_error().build()?;
    let client = reqwest_client(no_wait);
    for _ in 0..3 {
        match call(client.clone(), partner).await {
            Ok(status) => log(status.to_string()),
            Err(error) => match error.downcast_ref::<OutboundError>() {
                Some(not_sent) => log(format!("not sent: {not_sent}")),
                None => return Err(error),
            },
        }
    }
    Ok(())
}

/// Sends ten requests per second to each host, at a constant rate, and queues up to twenty. Waits as long as the
/// server requests, up to a minute.
fn outbound(limiter: &Limiter) -> Result<OutboundLimiter, Box<dyn Error + Send + Sync>> {
    let rule = Rule::per_second("outbound", 10).algorithm(Algorithm::LeakyBucket).burst(20);
    limiter.add_rule(rule)?;
    let outbound = OutboundLimiter::new(limiter)
        .max_wait(Duration::from_secs(30))
        .respect_retry_after_up_to(Duration::from_secs(60))
        .build()?;
    Ok(outbound)
}

type HyperClient = Client<HttpConnector, Empty<Bytes>>;

/// Wraps a client that is a Tower service of `http` requests.
fn hyper_client(outbound: OutboundLimiter) -> OutboundService<HyperClient> {
    outbound.layer(Client::builder(TokioExecutor::new()).build_http())
}

/// Wraps reqwest, which has its own request types: a function converts them.
fn reqwest_client(
    outbound: OutboundLimiter,
) -> impl Service<
    Request<Empty<Bytes>>,
    Response = axum::http::Response<reqwest::Body>,
    Error = BoxError,
    Future: Send,
> + Clone {
    let client = reqwest::Client::new();
    outbound.layer(service_fn(move |request: Request<Empty<Bytes>>| {
        let client = client.clone();
        async move {
            let request = request.map(|_| reqwest::Body::default());
            let response = client.execute(request.try_into()?).await?;
            Ok::<_, BoxError>(axum::http::Response::<reqwest::Body>::from(response))
        }
    }))
}

/// Retries a call that the server rejects. The outbound limit waits for the `Retry-After` of the server, but it
/// never retries a request.
async fn call<C, B>(mut client: C, server: SocketAddr) -> Result<StatusCode, BoxError>
where
    C: Service<Request<Empty<Bytes>>, Response = axum::http::Response<B>, Error = BoxError>,
{
    let mut attempts_left = 3;
    loop {
        let request = Request::get(format!("http://{server}/")).body(Empty::new())?;
        let status = client.ready().await?.call(request).await?.status();
        attempts_left -= 1;
        if status != StatusCode::TOO_MANY_REQUESTS || attempts_left == 0 {
            return Ok(status);
        }
    }
}

/// Simulates the service of a partner, which allows each client five requests per second.
async fn serve(limiter: &Limiter) -> Result<SocketAddr, Box<dyn Error + Send + Sync>> {
    limiter.add_rule(Rule::per_second("partner", 5).algorithm(Algorithm::TokenBucket))?;
    let layer = RateThrottleLayer::new(limiter).build()?;
    let app = Router::new().route("/", get(|| async { "hello\n" })).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, service).await {
            eprintln!("the server stopped: {error}");
        }
    });
    Ok(address)
}

#[cfg(test)]
mod tests {
    use std::{future::Future, pin::pin, time::SystemTime};

    use ratethrottle::ManualClock;
    use tokio::time::timeout;

    use super::*;

    /// A client and a server with the same clock.
    struct Fixture {
        clock: ManualClock,
        partner: Limiter,
        address: SocketAddr,
        outbound: OutboundLimiter,
    }

    impl Fixture {
        async fn new() -> Self {
            let clock =
                ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
            let limiter = || Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
            let (partner, own) = (limiter(), limiter());
            let address = serve(&partner).await.unwrap();
            Self { clock, partner, address, outbound: outbound(&own).unwrap() }
        }

        /// Advances the clock until the call is done.
        async fn run<T>(&self, call: impl Future<Output = T>) -> T {
            let mut call = pin!(call);
            loop {
                match timeout(Duration::from_millis(20), call.as_mut()).await {
                    Ok(output) => return output,
                    Err(_) => self.clock.advance(Duration::from_millis(50)),
                }
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_respects_retry_after_is_never_rejected() {
        let fixture = Fixture::new().await;
        let client = hyper_client(fixture.outbound.clone());
        for _ in 0..20 {
            assert_eq!(fixture.run(call(client.clone(), fixture.address)).await.unwrap(), 200);
        }
        let metrics = fixture.partner.metrics();
        assert_eq!((metrics.allowed, metrics.denied), (20, 0));
    }

    #[tokio::test]
    async fn a_rejected_call_is_retried_after_retry_after() {
        let fixture = Fixture::new().await;
        fixture.partner.check_cost("127.0.0.1", "partner", 5).await.unwrap();
        let client = hyper_client(fixture.outbound.clone());
        assert_eq!(fixture.run(call(client, fixture.address)).await.unwrap(), 200);
        assert_eq!(fixture.partner.metrics().denied, 1);
    }

    #[tokio::test]
    async fn a_call_that_may_not_wait_is_not_sent_and_reports_the_wait() {
        let fixture = Fixture::new().await;
        let client = reqwest_client(fixture.outbound.clone().max_wait(Duration::ZERO));
        assert_eq!(call(client.clone(), fixture.address).await.unwrap(), 200);
        let error = call(client, fixture.address).await.unwrap_err();
        let not_sent = error.downcast_ref::<OutboundError>().unwrap();
        assert_eq!(not_sent.retry_after(), Some(Duration::from_millis(100)));
        assert_eq!(fixture.partner.metrics().total, 1);
    }
}
