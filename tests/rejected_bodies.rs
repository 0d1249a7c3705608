//! Rejected uploads: every client receives the 429, also behind reverse proxies, and no proxy takes a server out of
//! service.

use std::process::Command;

use axum::{
    Router,
    body::Bytes,
    routing::{get, post},
};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use ratethrottle::{
    Limiter, MemoryStorage, RateThrottle, RateThrottleLayer, Rule, identity::Global,
};

use crate::{
    clients::{has, output},
    reverse_proxy::ReverseProxy,
    servers::{Server, hello},
};

const UPLOADS: usize = 20;
const LENGTH: usize = 2 * 1024 * 1024;

/// Returns the same status for all [`UPLOADS`].
fn all(status: u16) -> Vec<u16> {
    vec![status; UPLOADS]
}

fn limiter() -> Limiter {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("uploads", 1)).unwrap();
    limiter
}

fn axum() -> Server {
    axum_with(RateThrottleLayer::new(limiter()))
}

fn axum_with(layer: RateThrottleLayer) -> Server {
    let layer = layer.key(Global).build().unwrap();
    let app = Router::new()
        .route("/upload", post(|_: Bytes| async { "stored" }).layer(layer))
        .route("/free", get(hello));
    Server::axum_app(app)
}

fn actix() -> Server {
    use actix_web::web;

    let throttle = RateThrottle::new(limiter()).key(Global).build().unwrap();
    Server::actix_app(move |app| {
        let upload = web::resource("/upload").wrap(throttle.clone());
        app.service(upload.post(|_: web::Bytes| async { "stored" }))
            .route("/free", web::get().to(hello));
    })
}

/// Starts servers, and uses up the limit of each.
async fn used_up<const N: usize>(start: fn() -> Server) -> [Server; N] {
    let servers = [(); N].map(|()| start());
    for server in &servers {
        assert_eq!(upload(&url(server), "a small body").await, 200);
    }
    servers
}

fn url(server: &Server) -> String {
    format!("{}upload", server.url())
}

/// Uploads by reqwest over a new connection, and returns the status, or 0 without a response.
async fn upload(url: &str, body: impl Into<reqwest::Body>) -> u16 {
    let sent = reqwest::Client::new().post(url).body(body).send().await;
    sent.map_or(0, |response| response.status().as_u16())
}

async fn uploads(url: &str) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..UPLOADS {
        statuses.push(upload(url, vec![0; LENGTH]).await);
    }
    statuses
}

#[tokio::test]
async fn reqwest_reads_every_rejection() {
    for start in [axum, actix] {
        let [server] = used_up(start).await;
        assert_eq!(uploads(&url(&server)).await, all(429), "{}", server.name);
    }
}

#[tokio::test]
async fn fetch_of_node_reads_every_rejection() {
    if !has("node") {
        return;
    }
    let script = "const [url, length, times] = process.argv.slice(1);
        for (let i = 0; i < times; i++) {
          const sent = fetch(url, { method: 'POST', body: Buffer.alloc(Number(length)) });
          const status = await sent.then((response) => response.text().then(() => response.status), () => 0);
          console.log(status);
        }";
    for start in [axum, actix] {
        let [server] = used_up(start).await;
        let mut node = Command::new("node");
        node.args(["--input-type=module", "--eval", script, "--"]);
        let lines = output(node.args([url(&server), LENGTH.to_string(), UPLOADS.to_string()]));
        let statuses: Vec<u16> = lines.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(statuses, all(429), "{}", server.name);
    }
}

#[tokio::test]
async fn over_http_2_every_rejection_is_read_and_the_connection_stays_open() {
    let [server] = used_up(axum).await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
    for _ in 0..UPLOADS {
        let body = Full::new(Bytes::from(vec![0; LENGTH]));
        let request = hyper::Request::post(url(&server)).body(body).unwrap();
        assert_eq!(client.request(request).await.unwrap().status(), 429);
    }
}

/// Uploads through a proxy; after each upload another client sends a request without a limit.
async fn uploads_and_other_requests(proxy: &ReverseProxy) -> (Vec<u16>, Vec<u16>) {
    let (mut rejected, mut others) = (Vec::new(), Vec::new());
    for _ in 0..UPLOADS {
        rejected.push(upload(&proxy.url("/upload"), vec![0; LENGTH]).await);
        let response = reqwest::get(proxy.url("/free")).await.unwrap();
        others.push(response.status().as_u16());
    }
    (rejected, others)
}

#[tokio::test]
async fn behind_nginx_every_rejection_is_read_and_no_server_is_taken_out() {
    if !has("nginx") {
        return;
    }
    for start in [axum, actix] {
        let servers: [Server; 2] = used_up(start).await;
        for lines in ["", "proxy_http_version 1.1;", "proxy_request_buffering off;"] {
            let proxy = ReverseProxy::nginx(&servers, lines).await;
            let answered = uploads_and_other_requests(&proxy).await;
            assert_eq!(answered, (all(429), all(200)), "{}, {lines}", servers[0].name);
        }
    }
}

#[tokio::test]
async fn behind_haproxy_every_rejection_is_read_and_no_server_is_taken_out() {
    if !has("haproxy") {
        return;
    }
    for start in [axum, actix] {
        let servers: [Server; 2] = used_up(start).await;
        let proxy = ReverseProxy::haproxy(&servers).await;
        let answered = uploads_and_other_requests(&proxy).await;
        assert_eq!(answered, (all(429), all(200)), "{}", servers[0].name);
    }
}
