//! The peer address: that of the connection, or one that a middleware inserts if there is no such address.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::net::{IpAddr, SocketAddr};

use actix_web::{
    App, HttpMessage,
    dev::{Service, ServiceRequest},
    test::init_service,
    web,
};
use bytes::Bytes;
use http::Request;
use throttle_actix::RateThrottle;
use throttle_core::Limiter;
use throttle_http::identity::ClientIp;
use throttle_memory::MemoryStorage;

use common::{PEER, call, get, limiter};

const SOCKET: &str = "198.51.100.1:4711";
const BARE: &str = "198.51.100.2";

/// Inserts the addresses of two header fields into the extensions: one with a port, and one without.
fn insert_peer(request: ServiceRequest) -> ServiceRequest {
    let field = |name| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
    if let Some(socket) = field("x-socket") {
        request.extensions_mut().insert::<SocketAddr>(socket.parse().unwrap());
    }
    if let Some(bare) = field("x-bare") {
        request.extensions_mut().insert::<IpAddr>(bare.parse().unwrap());
    }
    request
}

fn with(mut request: Request<Bytes>, fields: &[(&'static str, &str)]) -> Request<Bytes> {
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// Returns the addresses that a request is charged to.
async fn charged(request: Request<Bytes>, key: ClientIp) -> Vec<&'static str> {
    let limiter = limiter(MemoryStorage::new(), 5);
    let throttle = RateThrottle::new(&limiter).key(key).build().unwrap();
    let app = App::new().wrap(throttle).default_service(web::to(async || "hello"));
    let app = init_service(app.wrap_fn(|request, next| next.call(insert_peer(request)))).await;
    assert_eq!(call(&app, request).await.status(), 200);
    charged_by(&limiter).await
}

async fn charged_by(limiter: &Limiter) -> Vec<&'static str> {
    let mut charged = Vec::new();
    for address in ["192.0.2.1", "198.51.100.1", "198.51.100.2", "203.0.113.9", "203.0.113.10"] {
        if limiter.peek(address, "api").await.unwrap().remaining() < 5 {
            charged.push(address);
        }
    }
    charged
}

#[actix_web::test]
async fn the_address_of_the_connection_precedes_that_of_a_socket_and_a_bare_one() {
    let (socket, bare) = (("x-socket", SOCKET), ("x-bare", BARE));
    let nowhere = || Request::new(Bytes::new());
    let key = ClientIp::new;
    assert_eq!(charged(with(get(), &[socket, bare]), key()).await, ["192.0.2.1"]);
    assert_eq!(charged(with(nowhere(), &[socket, bare]), key()).await, ["198.51.100.1"]);
    assert_eq!(charged(with(nowhere(), &[bare]), key()).await, ["198.51.100.2"]);
}

#[actix_web::test]
async fn an_inserted_address_is_trusted_as_a_proxy_like_any_other() {
    let forwarded = ("x-forwarded-for", "203.0.113.10, 203.0.113.9");
    let request = |field| with(Request::new(Bytes::new()), &[field, forwarded]);
    for field in [("x-socket", SOCKET), ("x-bare", "198.51.100.1")] {
        let trusting = ClientIp::new().trusted_proxies(["198.51.100.1"]);
        assert_eq!(charged(request(field), trusting).await, ["203.0.113.9"]);
        let other = ClientIp::new().trusted_proxies(["198.51.100.2"]);
        assert_eq!(charged(request(field), other).await, ["198.51.100.1"]);
    }
    // If the connection has an address, only that one can be trusted.
    let request = with(get(), &[("x-socket", SOCKET), forwarded]);
    let trusting = ClientIp::new().trusted_proxies(["198.51.100.1"]);
    assert_eq!(charged(request, trusting).await, [PEER.ip().to_string()]);
}

#[cfg(unix)]
#[actix_web::test]
async fn over_a_unix_socket_a_middleware_inserts_the_peer_address() {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::UnixStream,
    };

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let limiter = limiter(MemoryStorage::new(), 5);
    let key = ClientIp::new().trusted_proxies(["198.51.100.1"]);
    let throttle = RateThrottle::new(&limiter).key(key).build().unwrap();
    let server = actix_web::HttpServer::new(move || {
        let app = App::new().wrap(throttle.clone()).default_service(web::to(async || "hello"));
        app.wrap_fn(|request, next| next.call(insert_peer(request)))
    });
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let server = server.workers(1).disable_signals().listen_uds(listener).unwrap().run();
    let handle = server.handle();
    let serving = actix_web::rt::spawn(server);
    let status = async |fields: &str| {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.split(' ').nth(1).unwrap().parse::<u16>().unwrap()
    };

    assert_eq!(status("x-forwarded-for: 203.0.113.9\r\n").await, 500, "from nowhere");
    assert!(charged_by(&limiter).await.is_empty());
    assert_eq!(status(&format!("x-bare: {BARE}\r\n")).await, 200);
    assert_eq!(charged_by(&limiter).await, [BARE]);
    let proxied = format!("x-socket: {SOCKET}\r\nx-forwarded-for: 203.0.113.9\r\n");
    for expected in [200, 200, 200, 200, 200, 429] {
        assert_eq!(status(&proxied).await, expected);
    }
    assert_eq!(charged_by(&limiter).await, [BARE, "203.0.113.9"]);
    handle.stop(false).await;
    serving.await.unwrap().unwrap();
}
