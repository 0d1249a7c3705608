//! A login that is protected against password guessing.
//!
//! Only failed attempts count. They are limited by address, and also by account, because an attacker may use many
//! addresses.
//!
//! Run `cargo run --example login`, then `curl -i -d 'alice:guess' http://127.0.0.1:3000/login` several times;
//! the password is `correct horse`.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
    routing::post,
};
use ratethrottle::{Algorithm, Key, Limiter, MemoryStorage, RateThrottleLayer, Rule};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://127.0.0.1:3000/login");
    let app = app(Limiter::new(MemoryStorage::new()))?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

fn app(limiter: Limiter) -> Result<Router, Box<dyn Error>> {
    const QUARTER: Duration = Duration::from_secs(900);
    // The sixth attempt within 15 minutes blocks an address for another 15 minutes.
    limiter.add_rule(
        Rule::new("address", 5, QUARTER).algorithm(Algorithm::SlidingWindowLog).block(QUARTER),
    )?;
    // A higher limit without a block, because otherwise anyone could lock users out of their accounts.
    limiter.add_rule(Rule::per_hour("account", 20).algorithm(Algorithm::TokenBucket))?;

    // Attempts are charged before the handler runs, so that concurrent guesses cannot exceed the limit.
    // Successful logins are refunded.
    let addresses = RateThrottleLayer::new(&limiter)
        .rule("address")
        .charge_if(|response| response.status() == StatusCode::UNAUTHORIZED)
        .build()?;
    Ok(Router::new().route("/login", post(login).layer(addresses)).with_state(limiter))
}

/// Handles a login. The account name is in the body, which a layer cannot read, so this limit is checked here.
async fn login(State(limiter): State<Limiter>, body: String) -> Response {
    let Some((account, password)) = body.trim_end().split_once(':') else {
        return (StatusCode::BAD_REQUEST, "account:password\n").into_response();
    };
    match attempt(&limiter, account, password).await {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("rejecting a login, because attempts cannot be counted: {error}");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

async fn attempt(
    limiter: &Limiter,
    account: &str,
    password: &str,
) -> Result<Response, ratethrottle::Error> {
    let key = Key::parts(["account", &account.to_lowercase()]);
    let decision = limiter.check(&key, "account").await?;
    if !decision.is_allowed() {
        let wait = decision.retry_after().unwrap_or_default().as_micros().div_ceil(1_000_000);
        let text = "too many attempts on this account\n";
        let retry_after = [(RETRY_AFTER, wait.to_string())];
        return Ok((StatusCode::TOO_MANY_REQUESTS, retry_after, text).into_response());
    }
    if !is_right(account, password) {
        return Ok((StatusCode::UNAUTHORIZED, "wrong account or password\n").into_response());
    }
    limiter.rollback(&key, &[decision]).await?;
    Ok("welcome\n".into_response())
}

/// Checks the password. Replace this with your own check, which should take the same time for unknown accounts.
fn is_right(_account: &str, password: &str) -> bool {
    password == "correct horse"
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use axum::{body::Body, extract::ConnectInfo, http::Request};
    use ratethrottle::ManualClock;
    use tower::ServiceExt;

    use super::*;

    const WRONG: &str = "guess";
    const RIGHT: &str = "correct horse";

    fn fixture() -> (ManualClock, Router) {
        let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600));
        let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
        (clock, app(limiter).unwrap())
    }

    async fn try_as(app: &Router, address: u8, account: &str, password: &str) -> Response {
        let peer = SocketAddr::from(([203, 0, 113, address], 50_000));
        let request = Request::post("/login").extension(ConnectInfo(peer));
        let body = Body::from(format!("{account}:{password}"));
        app.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }

    async fn status(app: &Router, address: u8, account: &str, password: &str) -> u16 {
        try_as(app, address, account, password).await.status().as_u16()
    }

    #[tokio::test]
    async fn an_address_has_five_failed_logins_and_any_number_of_successful_ones() {
        let (clock, app) = fixture();
        for _ in 0..30 {
            assert_eq!(status(&app, 1, "alice", RIGHT).await, 200);
        }
        for _ in 0..5 {
            assert_eq!(status(&app, 1, "alice", WRONG).await, 401);
            assert_eq!(status(&app, 2, "alice", RIGHT).await, 200);
        }
        let rejected = try_as(&app, 1, "alice", RIGHT).await;
        assert_eq!(
            (rejected.status().as_u16(), &rejected.headers()["retry-after"]),
            (429, &"900".parse().unwrap())
        );
        clock.advance(Duration::from_secs(899));
        assert_eq!(
            status(&app, 1, "bob", RIGHT).await,
            429,
            "the address is blocked for every account"
        );
        assert_eq!(status(&app, 2, "alice", RIGHT).await, 200, "another address is not blocked");
        clock.advance(Duration::from_secs(1));
        assert_eq!(status(&app, 1, "alice", RIGHT).await, 200);
    }

    #[tokio::test]
    async fn guesses_from_many_addresses_are_limited_by_account() {
        let (clock, app) = fixture();
        for address in 0..20 {
            assert_eq!(status(&app, address, "Alice", WRONG).await, 401);
        }
        let rejected = try_as(&app, 20, "alice", RIGHT).await;
        assert_eq!(rejected.status(), 429);
        assert_eq!(rejected.headers()["retry-after"], "180", "one of twenty per hour");
        assert_eq!(status(&app, 20, "bob", RIGHT).await, 200);
        clock.advance(Duration::from_secs(180));
        assert_eq!(status(&app, 20, "alice", RIGHT).await, 200);
    }

    #[tokio::test]
    async fn concurrent_guesses_do_not_exceed_the_limit() {
        let (_, app) = fixture();
        let guesses: Vec<_> = (0..50)
            .map(|_| {
                let app = app.clone();
                tokio::spawn(async move { status(&app, 1, "alice", WRONG).await })
            })
            .collect();
        let mut attempts = 0;
        for guess in guesses {
            attempts += usize::from(guess.await.unwrap() == 401);
        }
        assert_eq!(attempts, 5);
    }
}
