//! Servers that receive SIGINT and shut down gracefully leave no permit, no lease and no unreconciled charge in Redis.

use std::{
    env,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering::SeqCst},
    thread,
    time::Duration,
};

use ratethrottle::{
    Algorithm, Limiter, MemoryStorage, RateThrottle, RateThrottleLayer, RedisStorage, Resilience,
    Rule,
    options::{ActualCost, Options},
    resilience::{Deadlines, FailureModes, LeaseBudget},
};
use throttle_testbed::Server;

const LIMIT: u64 = 1_000_000;
const DEADLINE: Duration = Duration::from_secs(60);
// The environment variables of a child.
const URL: &str = "RATETHROTTLE_TEST_URL";
const PREFIX: &str = "RATETHROTTLE_TEST_PREFIX";
const KIND: &str = "RATETHROTTLE_TEST_KIND";

/// The requests whose handler was called, each with an actual cost of 1.
static HANDLED: AtomicU64 = AtomicU64::new(0);

fn rule() -> Rule {
    Rule::new("api", LIMIT, Duration::from_secs(365 * 86_400)).algorithm(Algorithm::FixedWindow)
}

async fn redis(url: &str, prefix: &str) -> RedisStorage {
    // Long timeouts, so that no call fails on a busy machine: the test counts exactly.
    let builder = RedisStorage::builder(url).key_prefix(prefix).response_timeout(DEADLINE);
    builder.connect().await.expect("the server runs")
}

async fn limiter(is_resilient: bool) -> Limiter {
    let variable = |name| env::var(name).expect("a parent runs this");
    let storage = redis(&variable(URL), &variable(PREFIX)).await;
    let limiter = if is_resilient {
        let modes = FailureModes::local(MemoryStorage::new(), 1);
        let storage = Resilience::new(storage).failure_modes(modes);
        let deadlines = Deadlines::of(DEADLINE).refund(DEADLINE);
        let storage = storage.deadline(deadlines).lease("api", LeaseBudget::percent(20));
        Limiter::new(storage.build())
    } else {
        Limiter::new(storage)
    };
    limiter.add_rule(rule()).expect("the rule is valid");
    limiter
}

fn options(limiter: &Limiter) -> Options {
    let uploads = limiter.concurrency("uploads", 1_000).expect("the limit is valid");
    Options::new().rule("api").concurrency(uploads).cost(100).charge_actual()
}

async fn handle(millis: u64, actual: &ActualCost) -> &'static str {
    actual.set(1);
    HANDLED.fetch_add(1, SeqCst);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    "done"
}

async fn interrupted() {
    tokio::signal::ctrl_c().await.expect("signals are supported");
}

fn listen() -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.set_nonblocking(true).expect("sockets are supported");
    println!("\naddress={}", listener.local_addr().expect("it is bound"));
    listener
}

async fn axum(limiter: Limiter) -> bool {
    use axum::{Extension, Router, extract::Path, routing::get};

    let layer = RateThrottleLayer::from_options(&limiter, options(&limiter)).build();
    let handler = async |Path(millis): Path<u64>, Extension(actual): Extension<ActualCost>| {
        handle(millis, &actual).await
    };
    let app = Router::new().route("/{millis}", get(handler)).layer(layer.expect("it is valid"));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::from_std(listen()).expect("it is a listener");
    let serving = axum::serve(listener, app).with_graceful_shutdown(interrupted());
    serving.await.expect("it serves");
    limiter.shutdown(DEADLINE).await
}

async fn actix(limiter: Limiter) -> bool {
    use actix_web::{App, HttpServer, web};

    let throttle = RateThrottle::from_options(&limiter, options(&limiter)).build();
    let throttle = throttle.expect("the options are valid");
    let handler = async |millis: web::Path<u64>, actual: web::ReqData<ActualCost>| {
        handle(*millis, &actual).await
    };
    let app = move || App::new().wrap(throttle.clone()).route("/{millis}", web::get().to(handler));
    // By default Actix drops all connections at SIGINT.
    let server = HttpServer::new(app).workers(2).disable_signals();
    let server = server.listen(listen()).expect("it is a listener").run();
    let handle = server.handle();
    actix_web::rt::spawn(async move {
        interrupted().await;
        handle.stop(true).await;
    });
    server.await.expect("it serves");
    limiter.shutdown(DEADLINE).await
}

/// Runs in the processes below, and is not a test by itself.
#[test]
#[ignore = "the other tests run it in separate processes"]
fn child() {
    let kind = env::var(KIND).expect("a parent runs it");
    let is_resilient = kind.ends_with("resilient");
    let is_complete = if kind.starts_with("axum") {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        runtime.block_on(async { axum(limiter(is_resilient).await).await })
    } else {
        actix_web::rt::System::new().block_on(async { actix(limiter(is_resilient).await).await })
    };
    println!("\ncomplete={is_complete}\nhandled={}", HANDLED.load(SeqCst));
}

fn spawn(server: &Server, prefix: &str, kind: &str) -> Child {
    let mut command = Command::new(env::current_exe().expect("the path of the test is known"));
    command.args(["--exact", "shutdown::child", "--ignored", "--nocapture"]).stdout(Stdio::piped());
    command.env(URL, server.url()).env(PREFIX, prefix).env(KIND, kind);
    command.spawn().expect("a process starts")
}

/// Reads the output of a child up to `name=value`.
fn value<T: std::str::FromStr>(lines: &mut impl Iterator<Item = String>, name: &str) -> T {
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
    value.unwrap_or_else(|| panic!("the child does not print {name}"))
}

/// Sends requests until the server stops. Every third client disconnects without reading the response.
fn load(address: SocketAddr, client: u64, answered: &AtomicU64) {
    for n in client.. {
        let Ok(mut stream) = TcpStream::connect(address) else { return };
        let request = format!("GET /{} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", n % 40);
        let sent = stream.write_all(request.as_bytes());
        if sent.is_ok() && !n.is_multiple_of(3) {
            let _ = stream.read_to_end(&mut Vec::new()); // fails if the server stops first
            answered.fetch_add(1, SeqCst);
        }
    }
}

/// Starts a server under load, sends it SIGINT, and checks what it leaves in Redis.
fn run(server: &Server, run: u64, kind: &str) {
    let prefix = format!("{kind}-{run}:");
    let mut child = spawn(server, &prefix, kind);
    let output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut lines = output.lines().map_while(Result::ok);
    let address = value(&mut lines, "address");
    let answered = AtomicU64::new(0);
    thread::scope(|scope| {
        for client in 0..6 {
            let answered = &answered;
            scope.spawn(move || load(address, client, answered));
        }
        while answered.load(SeqCst) < 80 + run {
            thread::park_timeout(Duration::from_millis(1));
        }
        let pid = child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().expect("`kill` exists");
        assert!(sent.success());
    });
    let is_complete: bool = value(&mut lines, "complete");
    let handled: u64 = value(&mut lines, "handled");
    assert!(child.wait().expect("it ends").success());

    let permits = server.command(&["KEYS", &format!("{prefix}*%places*")]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let charged = runtime.block_on(async {
        let limiter = Limiter::new(redis(&server.url(), &prefix).await);
        limiter.add_rule(rule()).expect("the rule is valid");
        LIMIT - limiter.peek("127.0.0.1", "api").await.expect("Redis answers").remaining()
    });
    assert!(
        is_complete && permits.list().is_empty() && charged == handled,
        "{kind}, run {run}: complete: {is_complete}, permits: {permits:?}, {handled} handled, {charged} charged"
    );
}

fn twenty_runs(kind: &'static str) {
    let server = Server::start();
    for group in 0..5 {
        thread::scope(|scope| {
            let runs = (0..4).map(|n| group * 4 + n);
            let all: Vec<_> = runs
                .map(|n| {
                    scope.spawn({
                        let server = &server;
                        move || run(server, n, kind)
                    })
                })
                .collect();
            for one in all {
                one.join().expect("the run passes");
            }
        });
    }
}

#[test]
fn axum_leaves_nothing_in_redis() {
    twenty_runs("axum");
}

#[test]
fn axum_with_leases_and_a_fallback_leaves_nothing_in_redis() {
    twenty_runs("axum-resilient");
}

#[test]
fn actix_leaves_nothing_in_redis() {
    twenty_runs("actix");
}

#[test]
fn actix_with_leases_and_a_fallback_leaves_nothing_in_redis() {
    twenty_runs("actix-resilient");
}
