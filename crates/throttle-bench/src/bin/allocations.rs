//! Allocations and bytes, compared with other limiters; the main program measures times.
//!
//! `cargo run --release -p throttle-bench --bin allocations`

use std::{
    alloc::System,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, http::Request, routing::get};
use governor::{Quota, RateLimiter};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use throttle_core::{Algorithm, AskKind, Key, Limiter, Rule};
use throttle_memory::MemoryStorage;
use throttle_tower::RateThrottleLayer;
use tower::Service;
use tower_governor::{
    GovernorLayer, governor::GovernorConfigBuilder, key_extractor::PeerIpKeyExtractor,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const TIMES: usize = 1_000;
const KEYS: u32 = 1_000_000;

fn main() {
    println!(
        "allocations of a request beyond those of the bare router\n| variant | allowed | rejected |\n| --- | --- | --- |"
    );
    let base = per_request(bare());
    for (name, layered) in [("tower_governor", governor as fn(_) -> _), ("RateThrottle", ours)] {
        let (allowed, rejected) = (layered(1_000_000), layered(1));
        let (allowed, rejected) = (per_request(allowed) - base, per_request(rejected) - base);
        println!("| {name} | {allowed:+.0} | {rejected:+.0} |");
    }

    println!(
        "\nallocations of a decision on a key that exists\n| algorithm | allocations |\n| --- | --- |"
    );
    for algorithm in Algorithm::ALL {
        println!("| {algorithm} | {} |", per_decision(algorithm));
    }

    println!("\nbytes per key, {KEYS} addresses\n| variant | bytes |\n| --- | --- |");
    let governor = RateLimiter::keyed(Quota::per_hour(NonZeroU32::MIN));
    let taken = bytes(|key| drop(governor.check_key(&key)));
    println!("| governor, keyed by address | {taken} |");
    for algorithm in Algorithm::ALL {
        let limiter = Limiter::new(MemoryStorage::builder().max_entries(2 * KEYS as usize).build());
        limiter.add_rule(Rule::per_hour("api", 1).algorithm(algorithm)).expect("in range");
        let taken = bytes(|key| {
            let key = Key::from(key);
            drop(now(limiter.begin(&key, Some(&["api"]), None, AskKind::Acquire)));
        });
        println!("| RateThrottle, {algorithm} | {taken} |");
    }
}

fn bare() -> Router {
    Router::new().route("/", get(|| async { "hello" }))
}

fn governor(burst: u32) -> Router {
    let config = GovernorConfigBuilder::default()
        .period(Duration::from_micros(if burst == 1 { 86_400_000_000 } else { 1 }))
        .burst_size(burst)
        .key_extractor(PeerIpKeyExtractor)
        .use_headers()
        .finish()
        .expect("burst and period are not 0");
    bare().layer(GovernorLayer::new(Arc::new(config)))
}

fn ours(burst: u32) -> Router {
    let rule =
        if burst == 1 { Rule::per_day("api", 1) } else { Rule::per_second("api", 1_000_000) };
    bare().layer(RateThrottleLayer::new(rule.algorithm(Algorithm::TokenBucket)))
}

fn per_request(app: Router) -> f64 {
    let mut app = app.with_state::<()>(());
    let mut send = || {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(ConnectInfo(peer));
        drop(now(app.call(request)));
    };
    (0..TIMES).for_each(|_| send());
    let region = Region::new(ALLOCATOR);
    (0..TIMES).for_each(|_| send());
    region.change().allocations as f64 / TIMES as f64
}

fn per_decision(algorithm: Algorithm) -> usize {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_hour("api", 900).algorithm(algorithm)).expect("in range");
    let decide = || {
        let key = Key::from("203.0.113.7");
        drop(now(limiter.begin(&key, Some(&["api"]), None, AskKind::Acquire)));
    };
    (0..600).for_each(|_| decide()); // the log has room for 1,024 now
    let region = Region::new(ALLOCATOR);
    (0..200).for_each(|_| decide());
    region.change().allocations
}

fn bytes(mut ask: impl FnMut(IpAddr)) -> usize {
    let region = Region::new(ALLOCATOR);
    (0..KEYS).for_each(|key| ask(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + key))));
    let change = region.change();
    (change.bytes_allocated - change.bytes_deallocated) / KEYS as usize
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("memory answers immediately"),
    }
}
