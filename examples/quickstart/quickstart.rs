//! An Axum service that allows each client 100 requests per minute.
//!
//! Run `cargo run --example quickstart`, then `curl -i http://127.0.0.1:3000/`.

use std::{error::Error, net::SocketAddr};

use axum::{Router, routing::get};
use ratethrottle::{RateThrottleLayer, Rule};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://127.0.0.1:3000, 100 requests per minute and client; try:");
    println!("  curl -i http://127.0.0.1:3000/");
    println!(
        "  for i in $(seq 101); do curl -s -o /dev/null -w '%{{http_code}}\\n' http://127.0.0.1:3000/; done | uniq -c"
    );
    println!("  curl -i http://127.0.0.1:3000/    # now rejected, with Retry-After");
    println!("a limit that is used up becomes available gradually, within two minutes at most");
    axum::serve(listener, app().into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

fn app() -> Router {
    Router::new()
        .route("/", get(|| async { "hello\n" }))
        .layer(RateThrottleLayer::new(Rule::per_minute("api", 100))) // in memory, keyed by client address
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::ConnectInfo, http::Request};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_101st_request_of_a_client_is_rejected() {
        let app = app();
        for (client, statuses) in [("203.0.113.7:1", [200, 429]), ("203.0.113.8:1", [200, 429])] {
            let peer: SocketAddr = client.parse().unwrap();
            for n in 1..=101 {
                let request = Request::builder().extension(ConnectInfo(peer)).body(Body::empty());
                let response = app.clone().oneshot(request.unwrap()).await.unwrap();
                assert_eq!(response.status(), statuses[usize::from(n > 100)], "{client}, {n}");
                assert!(response.headers().contains_key("ratelimit"));
                assert_eq!(response.headers().contains_key("retry-after"), n > 100);
            }
        }
    }
}
