//! Logins that are protected from guessing: only attempts that fail are counted, for each address, and for each
//! account, whose password may be guessed from many addresses.
//!
//! `cargo run --example login`, then `curl -i -d 'alice:guess' http://127.0.0.1:3000/login` several times;
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
    // Whoever tries for a sixth time within a quarter of an hour is shut out for another.
    limiter.add_rule(
        Rule::new("address", 5, QUARTER).algorithm(Algorithm::SlidingWindowLog).block(QUARTER),
    )?;
    // Wide, and without a block: or else anybody could shut others out of their accounts.
    limiter.add_rule(Rule::per_hour("account", 20).algorithm(Algorithm::TokenBucket))?;

    // Charged before the handler runs, so that a hundred guesses at once are no hundred guesses, and given
    // back where the login worked.
    let addresses = RateThrottleLayer::new(&limiter)
        .rule("address")
        .charge_if(|response| response.status() == StatusCode::UNAUTHORIZED)
        .build()?;
    Ok(Router::new().route("/login", post(login).layer(addresses)).with_state(limiter))
}

/// The name of the account is in the body, which no layer reads: it is counted here.
async fn login(State(limiter): State<Limiter>, body: String) -> Response {
    let Some((account, password)) = body.trim_end().split_once(':') else {
        return (StatusCode::BAD_REQUEST, "account:password\n").into_response();
    };
    match attempt(&limiter, account, password).await {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("logins cannot be counted, so that there are none: {error}");
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
        let wait = decision.retry_after().unwrap_or_default().as_secs() + 1;
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

/// Stands for your own; it should take as long for accounts that do not exist.
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

    fn world() -> (ManualClock, Router) {
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
    async fn logins_that_work_are_free_and_those_that_fail_are_five() {
        let (clock, app) = world();
        for _ in 0..30 {
            assert_eq!(status(&app, 1, "alice", RIGHT).await, 200);
        }
        for _ in 0..5 {
            assert_eq!(status(&app, 1, "alice", WRONG).await, 401);
            assert_eq!(status(&app, 2, "alice", RIGHT).await, 200);
        }
        let refused = try_as(&app, 1, "alice", RIGHT).await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()["retry-after"]),
            (429, &"900".parse().unwrap())
        );
        clock.advance(Duration::from_secs(899));
        assert_eq!(status(&app, 1, "bob", RIGHT).await, 429, "whatever account it is");
        assert_eq!(status(&app, 2, "alice", RIGHT).await, 200, "whoever else it is");
        clock.advance(Duration::from_secs(1));
        assert_eq!(status(&app, 1, "alice", RIGHT).await, 200);
    }

    #[tokio::test]
    async fn an_account_whose_password_is_guessed_from_many_addresses_is_closed_for_minutes() {
        let (clock, app) = world();
        for address in 0..20 {
            assert_eq!(status(&app, address, "Alice", WRONG).await, 401);
        }
        let refused = try_as(&app, 20, "alice", RIGHT).await;
        assert_eq!(refused.status(), 429);
        assert_eq!(refused.headers()["retry-after"], "181", "twenty an hour, and a second more");
        assert_eq!(status(&app, 20, "bob", RIGHT).await, 200);
        clock.advance(Duration::from_secs(180));
        assert_eq!(status(&app, 20, "alice", RIGHT).await, 200);
    }

    #[tokio::test]
    async fn guesses_that_come_at_once_are_no_more_than_the_limit() {
        let (_, app) = world();
        let guesses: Vec<_> = (0..50)
            .map(|_| {
                let app = app.clone();
                tokio::spawn(async move { status(&app, 1, "alice", WRONG).await })
            })
            .collect();
        let mut heard = 0;
        for guess in guesses {
            heard += usize::from(guess.await.unwrap() == 401);
        }
        assert_eq!(heard, 5);
    }
}
