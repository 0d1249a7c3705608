//! Limits in front of HTTP clients: calls wait for their turn, for as long as they may, and as long as the
//! server asks.
//!
//! `cargo run --features outbound --example outbound` serves a limited service on a port of its own and calls it
//! by hyper's client and by reqwest.

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
    let tell = move |what: String| println!("{:>4} ms  {what}", begin.elapsed().as_millis());

    println!("twelve calls by hyper's client, ten a second at most; the server has room for five:");
    let client = hyper_client(outbound.clone());
    let calls: Vec<_> = (0..12)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { call(client, partner).await.map(|it| tell(it.to_string())) })
        })
        .collect();
    for call in calls {
        call.await??;
    }

    println!("a second later, calls that may not wait, by reqwest, whose limit is the same:");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let hasty = outbound.max_wait(Duration::ZERO).respect_retry_after().pass_on_error().build()?;
    let hasty = reqwest_client(hasty);
    for _ in 0..3 {
        match call(hasty.clone(), partner).await {
            Ok(status) => tell(status.to_string()),
            Err(error) => match error.downcast_ref::<OutboundError>() {
                Some(not_sent) => tell(format!("not sent: {not_sent}")),
                None => return Err(error),
            },
        }
    }
    Ok(())
}

/// Evenly, ten a second to each host, of which twenty may wait; and as the server asks, but for a minute at
/// most, whatever it says.
fn outbound(limiter: &Limiter) -> Result<OutboundLimiter, Box<dyn Error + Send + Sync>> {
    let evenly = Rule::per_second("evenly", 10).algorithm(Algorithm::LeakyBucket).burst(20);
    limiter.add_rule(evenly)?;
    let outbound = OutboundLimiter::new(limiter)
        .max_wait(Duration::from_secs(30))
        .respect_retry_after_up_to(Duration::from_secs(60))
        .build()?;
    Ok(outbound)
}

type HyperClient = Client<HttpConnector, Empty<Bytes>>;

/// A client that is a Tower service of `http` requests has the limit laid around it.
fn hyper_client(outbound: OutboundLimiter) -> OutboundService<HyperClient> {
    outbound.layer(Client::builder(TokioExecutor::new()).build_http())
}

/// Reqwest has types of its own; a function between makes such a service of it.
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

/// Calls again when the server refuses: the limit in front of the client waits as it said. By itself nothing
/// is sent twice.
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

/// Stands for somebody else's service: five requests at once, then five a second, to each client.
async fn serve(limiter: &Limiter) -> Result<SocketAddr, Box<dyn Error + Send + Sync>> {
    limiter.add_rule(Rule::per_second("partner", 5).algorithm(Algorithm::TokenBucket))?;
    let layer = RateThrottleLayer::new(limiter).build()?;
    let app = Router::new().route("/", get(|| async { "hello\n" })).layer(layer);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, service).await {
            eprintln!("the server has stopped: {error}");
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

    /// Both sides go by one clock.
    struct World {
        clock: ManualClock,
        partner: Limiter,
        address: SocketAddr,
        outbound: OutboundLimiter,
    }

    impl World {
        async fn new() -> Self {
            let clock =
                ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
            let limiter = || Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
            let (partner, own) = (limiter(), limiter());
            let address = serve(&partner).await.unwrap();
            Self { clock, partner, address, outbound: outbound(&own).unwrap() }
        }

        /// Lets time pass for as long as it is waited for.
        async fn pass<T>(&self, call: impl Future<Output = T>) -> T {
            let mut call = pin!(call);
            loop {
                match timeout(Duration::from_millis(20), call.as_mut()).await {
                    Ok(answer) => return answer,
                    Err(_) => self.clock.advance(Duration::from_millis(50)),
                }
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_heeds_what_the_server_says_is_never_refused() {
        let world = World::new().await;
        let client = hyper_client(world.outbound.clone());
        for _ in 0..20 {
            assert_eq!(world.pass(call(client.clone(), world.address)).await.unwrap(), 200);
        }
        let metrics = world.partner.metrics();
        assert_eq!((metrics.allowed, metrics.denied), (20, 0));
    }

    #[tokio::test]
    async fn a_refused_call_is_sent_again_when_the_server_said() {
        let world = World::new().await;
        world.partner.check_cost("127.0.0.1", "partner", 5).await.unwrap();
        let client = hyper_client(world.outbound.clone());
        assert_eq!(world.pass(call(client, world.address)).await.unwrap(), 200);
        assert_eq!(world.partner.metrics().denied, 1);
    }

    #[tokio::test]
    async fn a_call_that_may_not_wait_is_not_sent_and_says_when_it_could_be() {
        let world = World::new().await;
        let client = reqwest_client(world.outbound.clone().max_wait(Duration::ZERO));
        assert_eq!(call(client.clone(), world.address).await.unwrap(), 200);
        let error = call(client, world.address).await.unwrap_err();
        let not_sent = error.downcast_ref::<OutboundError>().unwrap();
        assert_eq!(not_sent.retry_after(), Some(Duration::from_millis(100)));
        assert_eq!(world.partner.metrics().total, 1);
    }
}
