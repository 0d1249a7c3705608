//! One way of a request in a loop, for a profiler.
use axum::{Router, body::Body, extract::ConnectInfo, http::Request, routing::get};
use std::{
    future::Future,
    hint::black_box,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Instant,
};
use throttle_core::{Algorithm, Key, Limiter, Rule};
use throttle_http::Headers;
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tower::Service;
fn now<T>(f: impl Future<Output = T>) -> T {
    match pin!(f).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(x) => x,
        Poll::Pending => panic!(),
    }
}
fn main() {
    let mode = std::env::args().nth(1).unwrap_or_default();
    let n: u32 = std::env::args().nth(2).map_or(3_000_000, |a| a.parse().expect("n"));
    let rule = || Rule::per_second("api", 1_000_000).algorithm(Algorithm::TokenBucket);
    let bare = Router::new().route("/", get(|| async { "hello" }));
    let layer = RateThrottleLayer::new(rule());
    let mut app = match mode.as_str() {
        "bare" => bare,
        "identity" => bare.layer(tower::layer::util::Identity::new()),
        "mapbody" => {
            bare.layer(axum::middleware::map_response(|r: axum::response::Response| async { r }))
        }
        "gov" | "govh" => {
            let mut b = tower_governor::governor::GovernorConfigBuilder::default();
            let mut b = b
                .period(std::time::Duration::from_micros(1))
                .burst_size(1_000_000)
                .key_extractor(tower_governor::key_extractor::PeerIpKeyExtractor);
            let c = if mode == "govh" {
                std::sync::Arc::new(b.use_headers().finish().expect("x"))
            } else {
                return {
                    let c = std::sync::Arc::new(b.finish().expect("x"));
                    let mut app =
                        bare.layer(tower_governor::GovernorLayer::new(c)).with_state::<()>(());
                    run(&mode, n, &mut app)
                };
            };
            bare.layer(tower_governor::GovernorLayer::new(c))
        }
        "none" => bare.layer(layer.headers(Headers::none())),
        "draft" => bare.layer(layer.headers(Headers::none().draft_10(true))),
        "legacy" => bare.layer(layer.headers(Headers::none().legacy(true))),
        "exempt" => bare.layer(layer.exempt(|_| true)),
        "refused" => bare.layer(RateThrottleLayer::new(Rule::per_day("api", 1))),
        _ => bare.layer(layer),
    }
    .with_state::<()>(());
    if mode == "decision" || mode == "hot" {
        let limiter = Limiter::new(MemoryStorage::new());
        limiter.add_rule(rule()).expect("x");
        let t = Instant::now();
        for i in 0..n {
            let address =
                IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + i.wrapping_mul(7919) % 10_000));
            let key = if mode == "hot" { Key::from("203.0.113.7") } else { Key::from(address) };
            let _ = black_box(limiter.begin(&key, Some(&["api"]), None).into_ready());
        }
        println!("{mode} {:.1} ns", t.elapsed().as_nanos() as f64 / f64::from(n));
        return;
    }
    run(&mode, n, &mut app);
}
fn run(mode: &str, n: u32, app: &mut Router) {
    for round in 0..2 {
        let t = Instant::now();
        for i in 0..n {
            let address =
                IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + i.wrapping_mul(7919) % 10_000));
            let mut request = Request::new(Body::empty());
            request.extensions_mut().insert(ConnectInfo(SocketAddr::new(address, 1)));
            let _ = black_box(now(app.call(request)));
        }
        if round == 1 {
            println!("{mode} {:.1} ns", t.elapsed().as_nanos() as f64 / f64::from(n));
        }
    }
}
