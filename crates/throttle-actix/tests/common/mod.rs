//! Helpers of these tests. Each test file is a separate program and uses some of them.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "every program uses another part of it"
)]

mod server;

use std::{net::SocketAddr, time::SystemTime};

use actix_web::{
    Error, HttpResponse,
    body::{self, MessageBody},
    dev::{Service, ServiceResponse},
    test::TestRequest,
};
use bytes::Bytes;
use http::{Request, Response};
use throttle_core::{Algorithm, Limiter, ManualClock, Micros, Rule, Storage};

pub use throttle_testkit::{
    Log,
    storages::{Failing, Later},
};

pub use self::server::{Answered, Runtime, Server};

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

/// Returns a request for `/` from [`PEER`].
pub fn get() -> Request<Bytes> {
    get_from(PEER)
}

/// Returns a request for `/` from another client.
pub fn get_from(peer: SocketAddr) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    request.extensions_mut().insert(peer);
    request
}

/// Returns a request for another path from [`PEER`].
pub fn get_path(path: &str) -> Request<Bytes> {
    let mut request = get();
    *request.uri_mut() = path.parse().unwrap();
    request
}

/// Passes a request to an app of Actix, and reads the response to its end.
pub async fn call<S, B>(service: &S, request: Request<Bytes>) -> Response<Bytes>
where
    S: Service<actix_http::Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    match service.call(to_actix(request)).await {
        Ok(response) => whole(response).await,
        Err(error) => panic!("{error}"),
    }
}

/// Converts a request to one of Actix, with the peer in its extensions.
pub fn to_actix(request: Request<Bytes>) -> actix_http::Request {
    let (parts, body) = request.into_parts();
    let method = actix_web::http::Method::from_bytes(parts.method.as_str().as_bytes()).unwrap();
    let mut made = TestRequest::with_uri(&parts.uri.to_string()).method(method);
    for (name, value) in &parts.headers {
        let value = actix_web::http::header::HeaderValue::from_bytes(value.as_bytes()).unwrap();
        made = made.append_header((name.as_str(), value));
    }
    if let Some(peer) = parts.extensions.get::<SocketAddr>() {
        made = made.peer_addr(*peer);
    }
    if !body.is_empty() {
        made = made.set_payload(body);
    }
    made.to_request()
}

/// Converts a response to one of Actix.
pub fn to_actix_response(response: Response<Bytes>) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(response.status().as_u16()).unwrap();
    let mut made = HttpResponse::build(status);
    for (name, value) in response.headers() {
        made.append_header((name.as_str(), value.as_bytes()));
    }
    made.body(response.into_body())
}

/// Reads a response to its end.
pub async fn whole<B: MessageBody>(response: ServiceResponse<B>) -> Response<Bytes> {
    let head = head_of(&response);
    let Ok(body) = body::to_bytes(response.into_body()).await else { panic!("the body failed") };
    head.map(|()| body)
}

/// Copies the head of a response, and its decisions.
pub fn head_of<B>(response: &ServiceResponse<B>) -> Response<()> {
    let mut made = Response::builder().status(response.status().as_u16());
    for (name, value) in response.headers() {
        made = made.header(name.as_str(), value.as_bytes());
    }
    if let Some(decisions) = response.response().extensions().get::<throttle_core::Decisions>() {
        made = made.extension(decisions.clone());
    }
    made.body(()).unwrap()
}

/// Returns a header field as text.
#[track_caller]
pub fn field<'a, B>(response: &'a Response<B>, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value.unwrap_or_else(|| panic!("there is no {name}")).to_str().unwrap()
}

/// Returns all values of a header field, in order.
pub fn lines<'a, B>(response: &'a Response<B>, name: &str) -> Vec<&'a str> {
    response.headers().get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}
