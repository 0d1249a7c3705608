//! An Actix service with a limit for all requests and another for logins; all workers share both limits.
//!
//! Run `cargo run --features actix --example actix`, then `curl -i http://127.0.0.1:3000/`.

use std::error::Error;

use actix_web::{App, HttpResponse, HttpServer, middleware::Logger, web};
use ratethrottle::{
    Limiter, MemoryStorage, RateDecisions, RateThrottle, Rule, actix::http::Method,
};

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let throttles = Throttles::new()?;
    let server = HttpServer::new(move || {
        App::new().configure(|config| app(config, &throttles)).wrap(Logger::default())
    });
    let server = server.workers(4).bind("127.0.0.1:3000")?;
    println!("listening on http://127.0.0.1:3000, 100 requests per minute and client; try:");
    println!("  curl -i http://127.0.0.1:3000/");
    println!(
        "  for i in $(seq 6); do curl -s -X POST http://127.0.0.1:3000/login; done    # 5 per minute"
    );
    server.run().await?;
    Ok(())
}

/// The middleware of the service.
///
/// It is built once, outside the factory, which the server calls for each worker.
#[derive(Clone)]
struct Throttles {
    all: RateThrottle,
    login: RateThrottle,
}

impl Throttles {
    fn new() -> Result<Self, Box<dyn Error>> {
        let limiter = Limiter::new(MemoryStorage::new());
        limiter.add_rule(Rule::per_minute("api", 100))?;
        let all = RateThrottle::new(&limiter).rule("api").build()?;
        let login = RateThrottle::new(&limiter)
            .limit("login", "5/minute")
            .methods([Method::POST])
            .on_rejection(|rejection| {
                let wait = rejection.retry_after_secs().unwrap_or_default();
                let text = format!("too many attempts; try again in {wait} s\n");
                HttpResponse::TooManyRequests().body(text)
            })
            .build()?;
        Ok(Self { all, login })
    }
}

fn app(config: &mut web::ServiceConfig, throttles: &Throttles) {
    let login = web::resource("/login").wrap(throttles.login.clone());
    config.service(
        web::scope("")
            .wrap(throttles.all.clone())
            .service(login.route(web::post().to(async || "welcome\n")))
            .route("/", web::get().to(index)),
    );
}

/// Handlers can read the decisions of their request.
async fn index(decisions: RateDecisions) -> String {
    format!("hello; {} left\n", decisions.most_restrictive().remaining())
}

#[cfg(test)]
mod tests {
    use actix_web::{
        body::to_bytes,
        test::{TestRequest, call_service, init_service},
    };

    use super::*;

    async fn bodies(requests: Vec<TestRequest>) -> Vec<(u16, String)> {
        let throttles = Throttles::new().unwrap();
        let app = init_service(App::new().configure(|config| app(config, &throttles))).await;
        let mut answers = Vec::new();
        for request in requests {
            let peer = "203.0.113.7:1".parse().unwrap();
            let response = call_service(&app, request.peer_addr(peer).to_request()).await;
            assert!(response.headers().contains_key("ratelimit"));
            let status = response.status().as_u16();
            let Ok(body) = to_bytes(response.into_body()).await else { panic!("the body failed") };
            answers.push((status, String::from_utf8(body.to_vec()).unwrap()));
        }
        answers
    }

    #[actix_web::test]
    async fn the_101st_request_of_a_client_is_rejected_and_handlers_see_remaining() {
        let answers = bodies((0..101).map(|_| TestRequest::get()).collect()).await;
        assert_eq!(answers[0], (200, "hello; 99 left\n".to_owned()));
        assert_eq!(answers[99], (200, "hello; 0 left\n".to_owned()));
        assert_eq!(answers[100].0, 429);
    }

    #[actix_web::test]
    async fn the_sixth_login_gets_a_custom_response() {
        let login = |_| TestRequest::post().uri("/login");
        let answers = bodies((0..6).map(login).collect()).await;
        assert!(answers[..5].iter().all(|(_, body)| body == "welcome\n"));
        assert!(answers[5].0 == 429 && answers[5].1.starts_with("too many attempts"));
    }
}
