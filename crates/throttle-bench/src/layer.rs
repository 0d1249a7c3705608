//! The time that a layer adds to a request: a `Router` called in process, 10,000 clients, no
//! network.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{HeaderName, HeaderValue, Request, StatusCode},
    response::Response,
    routing::get,
};
use axum_governor::{Quota, extractor::PeerIp, nz};
use throttle_core::{Algorithm, Rule};
use throttle_tower::RateThrottleLayer;
use tower::{Service, util::MapResponseLayer};
use tower_governor::key_extractor::PeerIpKeyExtractor;

use crate::harness::{Variant, median, now, run_alternately};

const KEYS: u32 = 10_000;
const ROUNDS: usize = 41;

pub(crate) fn run() {
    println!("\nlayer: nanoseconds added to a request, with header fields, {KEYS} clients");
    println!(
        "| scenario | axum-governor | tower_governor | RateThrottle | by the better peer |\n\
         | --- | --- | --- | --- | --- |"
    );
    let rule = || Rule::per_second("api", 1_000_000).algorithm(Algorithm::TokenBucket);
    let peers = |limit: u32| [axum_governor(bare(), limit), tower_governor(bare(), limit)];
    let ours = |rule: Rule| ours(bare(), rule);
    table("allowed", 20_000, StatusCode::OK, peers(1_000_000), ours(rule()));
    let counter = Rule::per_second("api", 1_000_000);
    table("allowed, sliding counter", 20_000, StatusCode::OK, peers(1_000_000), ours(counter));
    let rule = Rule::per_day("api", 1).algorithm(Algorithm::TokenBucket);
    table("rejected", 5_000, StatusCode::TOO_MANY_REQUESTS, peers(1), ours(rule));
    floor();
}

/// Measures the part that any layer takes to write header fields.
fn floor() {
    println!("\nof that\n| a layer that | adds |\n| --- | --- |");
    let nothing = MapResponseLayer::new(|response: Response| response);
    let fields = MapResponseLayer::new(|mut response: Response| {
        for name in ["ratelimit", "ratelimit-policy"] {
            let name = HeaderName::from_static(name);
            response.headers_mut().insert(name, HeaderValue::from_static("1"));
        }
        response
    });
    let mut routers = [bare(), bare().layer(nothing), bare().layer(fields)].map(served);
    let mut variants: Vec<_> = routers.iter_mut().map(|router| requests("floor", router)).collect();
    let taken = run_alternately(&mut variants, ROUNDS, 20_000);
    for (i, what) in [(1, "does nothing"), (2, "writes two fields that never change")] {
        println!("| {what} | +{:.0} |", added(&taken[i], &taken[0]));
    }
}

fn table(name: &str, times: usize, expected: StatusCode, peers: [Router; 2], ours: Router) {
    let [one, other] = peers;
    let mut routers = [served(bare()), one, other, ours];
    for router in &mut routers[1..] {
        (0..2 * KEYS).for_each(|i| {
            send(router, i);
        }); // with a limit of one, later requests are rejected
        assert_eq!(send(router, 0), expected, "{name}");
    }
    let mut variants: Vec<_> = routers.iter_mut().map(|router| requests(name, router)).collect();
    let taken = run_alternately(&mut variants, ROUNDS, times);
    let [one, other, ours] = [1, 2, 3].map(|i| added(&taken[i], &taken[0]));
    println!("| {name} | +{one:.0} | +{other:.0} | +{ours:.0} | {:.2} |", ours / one.min(other));
}

fn requests<'a>(name: &'a str, router: &'a mut Router) -> Variant<'a> {
    Variant::new(name, |i| {
        black_box(send(router, i as u32));
    })
}

/// Returns the median of the added time per round.
fn added(layered: &[f64], bare: &[f64]) -> f64 {
    median(layered.iter().zip(bare).map(|(one, bare)| one - bare).collect())
}

fn send(router: &mut Router, client: u32) -> StatusCode {
    // A step coprime to the number of clients, so that consecutive requests are of distant clients.
    let address = Ipv4Addr::from_bits(0x0a00_0000 + client.wrapping_mul(7_919) % KEYS);
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(IpAddr::V4(address), 1)));
    now(router.call(request)).unwrap_or_default().status()
}

fn bare() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

/// Wraps the routes in the layers once, as a server does, and not for each request.
fn served(app: Router) -> Router {
    app.with_state(())
}

pub(crate) fn ours(app: Router, rule: Rule) -> Router {
    served(app.layer(RateThrottleLayer::new(rule)))
}

/// Wraps the routes in a limit of a million a second, or one a day.
pub(crate) fn tower_governor(app: Router, burst: u32) -> Router {
    let period = if burst == 1 { Duration::from_secs(86_400) } else { Duration::from_micros(1) };
    let config = tower_governor::governor::GovernorConfigBuilder::default()
        .period(period)
        .burst_size(burst)
        .key_extractor(PeerIpKeyExtractor)
        .use_headers()
        .finish();
    let config = Arc::new(config.expect("burst and period are not 0"));
    served(app.layer(tower_governor::GovernorLayer::new(config)))
}

/// Wraps the routes like `tower_governor`, with the header fields that this layer has by default.
pub(crate) fn axum_governor(app: Router, burst: u32) -> Router {
    let quota = match NonZeroU32::new(burst) {
        Some(many) if burst > 1 => Quota::requests_per_second(many),
        _ => Quota::seconds_per_request(nz!(86_400_u32)),
    };
    let config = axum_governor::GovernorConfigBuilder::default()
        .with_extractor(PeerIp::default())
        .expect_connect_info()
        .quota_default(quota)
        .gc_disable()
        .finish();
    let config = config.expect("the quota is valid");
    served(app.layer(axum_governor::GovernorLayer::new(config)))
}
