//! Plans: the limit of a request depends on the plan of its API key.
//!
//! Run `cargo run --example plans`, then `curl -i -H 'x-api-key: k-pro' http://127.0.0.1:3000/`.

use std::{
    collections::HashMap,
    error::Error,
    net::SocketAddr,
    sync::{Arc, RwLock},
};

use axum::{Router, routing::get};
use ratethrottle::{
    Algorithm, ClientIp, Header, Key, Limiter, MemoryStorage, RateThrottleLayer, Rule,
    identity::OnMissing,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://127.0.0.1:3000; the API keys are k-pro and k-partner");
    let plans = Plans::default();
    plans.set("k-pro", Some("pro"));
    plans.set("k-partner", None);
    axum::serve(listener, app(plans)?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// The plan of each API key. Partners have no plan, and only the common limit.
#[derive(Clone, Default)]
struct Plans {
    of: Arc<RwLock<HashMap<Vec<u8>, Option<&'static str>>>>,
}

impl Plans {
    /// Changes a plan while the service runs.
    fn set(&self, api_key: &str, plan: Option<&'static str>) {
        let mut all = self.of.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.insert(api_key.into(), plan);
    }

    fn of(&self, key: &Key<'_>) -> Option<&'static str> {
        let all = self.of.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.get(key.as_bytes()).copied().unwrap_or(Some("free"))
    }
}

fn app(plans: Plans) -> Result<Router, Box<dyn Error>> {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_second("burst", 10).algorithm(Algorithm::TokenBucket).burst(20))?;
    limiter.add_rule(Rule::per_hour("free", 60))?;
    limiter.add_rule(Rule::per_hour("pro", 6_000))?;

    let layer = RateThrottleLayer::new(&limiter)
        .key(Header::new("x-api-key").missing(OnMissing::ClientIp(ClientIp::new())))
        .rule("burst") // applies to all plans
        .declare_rules(["free", "pro"])
        .select_rules(move |key, _| plans.of(key))
        .build()?;
    Ok(Router::new().route("/", get(|| async { "hello\n" })).layer(layer))
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::ConnectInfo, http::Request};
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_key_is_limited_by_its_current_plan() {
        let plans = Plans::default();
        plans.set("partner", None);
        let app = app(plans.clone()).unwrap();
        let policy = async |key: &str| {
            let peer: SocketAddr = "203.0.113.7:1".parse().unwrap();
            let request = Request::get("/").header("x-api-key", key).extension(ConnectInfo(peer));
            let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), 200);
            response.headers()["ratelimit-policy"].to_str().unwrap().to_owned()
        };
        let burst = r#""burst";q=20;w=2"#;
        assert_eq!(policy("k").await, format!(r#"{burst}, "free";q=60;w=3600"#));
        plans.set("k", Some("pro"));
        assert_eq!(policy("k").await, format!(r#"{burst}, "pro";q=6000;w=3600"#));
        assert_eq!(policy("partner").await, burst);
    }
}
