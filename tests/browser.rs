//! A real browser reads the header fields of responses of another origin.
//!
//! If Chromium is not installed, the test reports that it is skipped.

use std::{
    process::{Child, Command, Stdio},
    sync::mpsc::{Sender, channel},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    response::Html,
    routing::{get, post},
};
use ratethrottle::{Algorithm, Headers, RateThrottle, RateThrottleLayer, Rule};
use serde_json::json;
use tower_http::cors::{Any, CorsLayer};

use crate::{
    clients::has,
    servers::{Server, hello},
};

fn once_per_day() -> Rule {
    Rule::per_day("api", 1).algorithm(Algorithm::TokenBucket)
}

/// Starts an axum server whose CORS layer is outside of the limit.
fn axum_server(headers: Headers) -> Server {
    let limit = RateThrottleLayer::new(once_per_day()).headers(headers).build().unwrap();
    let cors = CorsLayer::new().allow_origin(Any);
    Server::axum_app(Router::new().route("/", get(hello)).layer(limit).layer(cors))
}

/// Starts an Actix server whose CORS middleware is outside of the limit.
fn actix_server(headers: Headers) -> Server {
    use actix_cors::Cors;
    use actix_web::web;

    let limit = RateThrottle::new(once_per_day()).headers(headers).build().unwrap();
    Server::actix_app(move |app| {
        let cors = Cors::default().allow_any_origin();
        let scope = web::scope("").wrap(limit.clone()).wrap(cors);
        app.service(scope.route("/", web::get().to(hello)));
    })
}

/// A page that fetches each address twice, and posts what its script can read.
const PAGE: &str = r#"<script>
async function main() {
  const read = [];
  for (const url of ADDRESSES) {
    for (let i = 0; i < 2; i++) {
      const { status, headers } = await fetch(url);
      const names = ["ratelimit", "ratelimit-policy", "retry-after"];
      read.push([status, ...names.map((name) => headers.get(name))]);
    }
  }
  return JSON.stringify(read);
}
main().catch(String).then((body) => fetch("/read", { method: "POST", body }));
</script>"#;

fn page_server(servers: &[Server], read: Sender<String>) -> Server {
    let addresses: Vec<_> = servers.iter().map(Server::url).collect();
    let page = PAGE.replace("ADDRESSES", &json!(addresses).to_string());
    let report = async |State(read): State<Sender<String>>, body: String| drop(read.send(body));
    let page = get(async move || Html(page.clone()));
    Server::axum_app(Router::new().route("/", page).route("/read", post(report)).with_state(read))
}

/// A browser process, which ends when it is dropped.
struct Browser(Child);

impl Browser {
    fn open(program: &str, url: &str, profile: &tempfile::TempDir) -> Self {
        let mut command = Command::new(program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--no-first-run", "--no-proxy-server", "--remote-debugging-port=0"]);
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg(url);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_browser_shows_exposed_fields_to_a_page_of_another_origin() {
    let Some(program) = ["chromium", "google-chrome"].into_iter().find(|program| has(program))
    else {
        return;
    };
    let exposed = Headers::default().cors_expose(true);
    let servers = [
        axum_server(exposed),
        actix_server(exposed),
        axum_server(Headers::default()),
        actix_server(Headers::default()),
    ];
    let (sender, read) = channel();
    let page = page_server(&servers, sender);
    let profile = tempfile::tempdir().unwrap();
    let _browser = Browser::open(program, &page.url(), &profile);
    let read = read.recv_timeout(Duration::from_secs(120)).unwrap();
    let (limits, policy) = (r#""api";r=0;t=86400"#, r#""api";q=1;w=86400"#);
    let shown = [json!([200, limits, policy, null]), json!([429, limits, policy, "86400"])];
    let hidden = [json!([200, null, null, null]), json!([429, null, null, null])];
    let expected = [&shown, &shown, &hidden, &hidden].map(|pair| pair.to_vec()).concat();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&read).unwrap(), json!(expected));
}
