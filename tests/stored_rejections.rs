//! A shared cache does not store rejections, and does not serve them to other clients.

use axum::{Router, routing::get};
use ratethrottle::{Header, Limiter, MemoryStorage, RateThrottle, RateThrottleLayer, Rule};

use crate::{
    clients::has,
    reverse_proxy::ReverseProxy,
    servers::{Server, hello},
};

/// Creates a limiter that allows one request per key.
fn limiter() -> Limiter {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("api", 1)).unwrap();
    limiter
}

fn servers() -> [Server; 2] {
    let layer = RateThrottleLayer::new(limiter()).key(Header::new("x-api-key")).build().unwrap();
    let app = Router::new().route("/{page}", get(hello)).layer(layer);
    let throttle = RateThrottle::new(limiter()).key(Header::new("x-api-key")).build().unwrap();
    let actix = Server::actix_app(move |app| {
        use actix_web::web;

        app.service(web::resource("/{page}").wrap(throttle.clone()).get(hello));
    });
    [Server::axum_app(app), actix]
}

async fn status(url: &str, key: &str) -> u16 {
    let response = reqwest::Client::new().get(url).header("x-api-key", key).send().await;
    response.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_caching_nginx_serves_no_rejection_to_another_client() {
    if !has("nginx") {
        return;
    }
    for servers in servers().map(|server| [server]) {
        let [server] = &servers;
        let name = server.name;
        assert_eq!(status(&format!("{}other", server.url()), "a").await, 200, "{name}");
        let lines = "proxy_cache cache; proxy_cache_valid any 1h;";
        let proxy = ReverseProxy::nginx(&servers, lines).await;
        let page = proxy.url("/page");
        assert_eq!(status(&page, "a").await, 429, "{name}");
        assert_eq!(status(&page, "b").await, 200, "{name}");
        assert_eq!(status(&page, "a").await, 200, "{name}: the page must come from the cache");
        let without_key = reqwest::get(proxy.url("/fresh")).await.unwrap().status();
        assert_eq!(without_key, 400, "{name}");
        assert_eq!(status(&proxy.url("/fresh"), "c").await, 200, "{name}");
    }
}
