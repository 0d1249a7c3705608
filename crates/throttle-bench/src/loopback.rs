//! The throughput of servers with a limit, relative to the bare server: single-threaded servers on
//! loopback, each in its own process, and `wrk` with one thread on another core, alternately.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use actix_extensible_rate_limit::backend::memory::InMemoryBackend;
use actix_web::{App, HttpResponse, HttpServer, web};
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use serde::Serialize;
use throttle_actix::RateThrottle;
use throttle_core::{Algorithm, Rule};
use tokio::net::TcpListener;

use crate::{
    actix::{extensible, hello},
    harness::median,
    layer::{axum_governor, ours, tower_governor},
};

/// The first argument of a child process; the others are the variant and the limit.
pub(crate) const CHILD: &str = "loopback-child";

const ROUNDS: usize = 15;
const SECONDS: &str = "1s";
const CONNECTIONS: &str = "16";
const AXUM: [&str; 4] = ["axum, bare", "axum-governor", "tower_governor", "RateThrottle, axum"];
const ACTIX: [&str; 3] = ["actix, bare", "actix-extensible-rate-limit", "RateThrottle, actix"];
/// A handler that does almost nothing, and one that does a little.
const HELLO: &str = "/";
const LIST: &str = "/list";
const ADMITTED: u32 = 1_000_000;
const REJECTED: u32 = 1;

pub(crate) fn run() {
    for (program, package) in [("wrk", "wrk"), ("taskset", "util-linux")] {
        if Command::new(program).arg("-V").output().is_err() {
            println!("\nloopback: {program} is not installed (Debian: {package}), skipped");
            return;
        }
    }
    for (path, what) in [(HELLO, "returns \"hello\""), (LIST, "lists ten products as JSON")] {
        println!(
            "\nloopback: requests in a second of one client by {CONNECTIONS} connections (wrk), one thread for \
             the server and one for wrk; its handler {what}\n| server | allowed | of bare | rejected | of bare |\n\
             | --- | --- | --- | --- | --- |"
        );
        table(&AXUM, path);
        table(&ACTIX, path);
    }
}

/// Prints a row per variant; the first is the bare server.
fn table(variants: &[&str], path: &str) {
    let columns = [ADMITTED, REJECTED].map(|limit| {
        let servers: Vec<_> = variants.iter().map(|name| Served::start(name, limit)).collect();
        let mut rounds = vec![Vec::new(); servers.len()];
        for round in 0..ROUNDS {
            for turn in 0..servers.len() {
                let i = (turn + round) % servers.len();
                rounds[i].push(servers[i].load(path, limit == REJECTED && i > 0));
            }
        }
        rounds
    });
    for (i, name) in variants.iter().enumerate() {
        let mut row = format!("| {name} |");
        for rounds in &columns {
            let ratios = rounds[i].iter().zip(&rounds[0]).map(|(one, bare)| one / bare);
            let (all, ratio) = (median(rounds[i].clone()), median(ratios.collect()));
            let _ = write!(row, " {all:.0} | {ratio:.2} |");
        }
        println!("{row}");
    }
}

/// A server in a separate process, which is killed on drop.
struct Served {
    process: Child,
    address: String,
}

impl Served {
    fn start(variant: &str, limit: u32) -> Self {
        let program = std::env::current_exe().expect("the path of this program is known");
        let mut process = on_core("0", program)
            .args([CHILD, variant, &limit.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process starts");
        let stdout = process.stdout.take().expect("it is piped");
        let mut address = String::new();
        BufReader::new(stdout).read_line(&mut address).expect("the server prints its address");
        Self { process, address: address.trim().to_owned() }
    }

    /// Returns the number of requests answered per second.
    fn load(&self, path: &str, rejected: bool) -> f64 {
        let url = format!("http://{}{path}", self.address);
        let output = on_core("1", "wrk")
            .args(["-t1", "-c", CONNECTIONS, "-d", SECONDS, &url])
            .output()
            .expect("wrk runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let after = |name: &str| {
            let (_, rest) = text.split_once(name)?;
            rest.split_whitespace().next()?.parse::<f64>().ok()
        };
        let others = after("Non-2xx or 3xx responses:").unwrap_or_default();
        assert_eq!(others > 0.0, rejected, "{text}");
        assert!(!text.contains("Socket errors"), "{text}");
        after("Requests/sec:").unwrap_or_else(|| panic!("wrk prints no rate: {text}"))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Pins a program to one core: placement by the scheduler changes results by a fifth.
fn on_core(core: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

/// Serves until it is killed, as one of the processes that [`run`] starts.
pub(crate) fn child(arguments: &[String]) {
    let [variant, limit] = arguments else { panic!("it is started by this program") };
    let limit: u32 = limit.parse().expect("a number");
    let rule = match limit {
        REJECTED => Rule::per_day("api", 1),
        many => Rule::per_second("api", u64::from(many)),
    };
    match &variant[..] {
        "axum, bare" => serve(routes()),
        "axum-governor" => serve(axum_governor(routes(), limit)),
        "tower_governor" => serve(tower_governor(routes(), limit)),
        "RateThrottle, axum" => serve(ours(routes(), rule.algorithm(Algorithm::TokenBucket))),
        name => serve_actix(name, rule.algorithm(Algorithm::FixedWindow), limit),
    }
}

fn routes() -> Router {
    let list = async || ([(CONTENT_TYPE, "application/json")], products());
    Router::new().route(HELLO, get(async || "hello")).route(LIST, get(list))
}

fn serve(app: Router) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        announce(listener.local_addr().expect("it is bound"));
        let app = app.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, app).await.expect("it serves");
    });
}

fn serve_actix(name: &str, rule: Rule, limit: u32) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    announce(listener.local_addr().expect("it is bound"));
    actix_web::rt::System::new().block_on(async {
        let server = match name {
            "actix, bare" => HttpServer::new(|| App::new().configure(actix_routes))
                .workers(1)
                .listen(listener)
                .map(HttpServer::run),
            "RateThrottle, actix" => {
                let throttle = RateThrottle::new(rule);
                let app = move || App::new().wrap(throttle.clone()).configure(actix_routes);
                HttpServer::new(app).workers(1).listen(listener).map(HttpServer::run)
            }
            _ => {
                let backend = InMemoryBackend::builder().build();
                let a_day = if limit == REJECTED { 1 } else { u64::MAX };
                let app = move || {
                    App::new().wrap(extensible(backend.clone(), a_day)).configure(actix_routes)
                };
                HttpServer::new(app).workers(1).listen(listener).map(HttpServer::run)
            }
        };
        server.expect("it listens").await.expect("it serves");
    });
}

fn actix_routes(app: &mut web::ServiceConfig) {
    let list = async || HttpResponse::Ok().content_type("application/json").body(products());
    app.route(HELLO, hello()).route(LIST, web::get().to(list));
}

#[derive(Serialize)]
struct Product {
    id: u32,
    name: &'static str,
    cents: u32,
    in_stock: bool,
    tags: [&'static str; 2],
}

/// Returns about 800 bytes of JSON, serialized each time.
fn products() -> String {
    let product = |id| Product {
        id,
        name: "Kettle, enamelled",
        cents: 2_490 + id,
        in_stock: id % 3 > 0,
        tags: ["kitchen", "tea"],
    };
    let products: Vec<_> = (1..=10).map(product).collect();
    serde_json::to_string(&products).expect("nothing in it can fail")
}

fn announce(address: SocketAddr) {
    println!("{address}");
    std::io::stdout().flush().expect("the parent process reads it");
}
