//! Helpers of these tests. Each test file is a separate program and uses some of them.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "every program uses another part of it"
)]

use std::{net::SocketAddr, time::SystemTime};

use axum::{body::Body, extract::ConnectInfo};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use throttle_core::{Algorithm, Limiter, ManualClock, Micros, Rule, Storage};

pub use throttle_testkit::{
    Log,
    storages::{Failing, Later},
};

pub const PEER: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)), 50_000);

/// Returns a limiter of `limit` requests in a window that does not end during a test.
pub fn limiter(storage: impl Storage, limit: u64) -> Limiter {
    let clock = ManualClock::at(begin());
    let limiter = Limiter::builder(storage).clock(clock).build();
    let rule = Rule::per_minute("api", limit).algorithm(Algorithm::FixedWindow);
    limiter.add_rule(rule).unwrap();
    limiter
}

/// Returns the start of 2026, where a minute begins.
pub fn begin() -> SystemTime {
    Micros::new(1_767_225_600_000_000).to_system_time()
}

/// Returns a request for `/` from [`PEER`], with axum's connect info.
pub fn get() -> Request<Body> {
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(ConnectInfo(PEER));
    request
}

/// Returns a request for `/` from [`PEER`], with the address that a custom server inserts.
pub fn get_plain() -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    request.extensions_mut().insert(PEER);
    request
}

/// Reads a response to its end.
pub async fn whole<B>(response: Response<B>) -> Response<Bytes>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Response::from_parts(parts, body)
}

/// Returns a header field as text.
#[track_caller]
pub fn field<'a, B>(response: &'a Response<B>, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.unwrap_or_else(|| panic!("there is no {name}")).to_str().unwrap()
}
