//! Real clients read the header fields: reqwest, a parser of structured fields (RFC 9651), curl, and the npm
//! package `ratelimit-header-parser`.
//!
//! If curl, Node.js or the package is not installed, the test reports that it is skipped. `scripts/test` installs
//! the package, and also reports skipped tests.

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use ratethrottle::{
    Algorithm, Headers, Limiter, ManualClock, MemoryStorage, RateThrottle, RateThrottleLayer, Rule,
};
use sfv::{BareItem, Item, List, ListEntry, Parser};

use crate::servers::Server;

/// The time of the limiters' clocks, in Unix time: the beginning of 2026.
const START: u64 = 1_767_225_600;

/// Creates a limiter with these rules, and a clock at a window edge.
fn limiter(rules: impl IntoIterator<Item = Rule>) -> (Limiter, ManualClock) {
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(START));
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
    for rule in rules {
        limiter.add_rule(rule.algorithm(Algorithm::FixedWindow)).unwrap();
    }
    (limiter, clock)
}

fn two_per_minute() -> Limiter {
    limiter([Rule::per_minute("api", 2)]).0
}

/// Starts both servers, each with its own limiter.
fn servers(headers: Headers) -> [Server; 2] {
    [
        Server::axum(RateThrottleLayer::new(two_per_minute()).headers(headers)),
        Server::actix(RateThrottle::new(two_per_minute()).headers(headers)),
    ]
}

/// The values that a client reads from a response.
#[derive(PartialEq, Eq, Debug, Default)]
struct Read {
    status: u16,
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<u64>,
    retry_after: Option<u64>,
}

/// Returns the values of three consecutive responses.
fn expected() -> [Read; 3] {
    [(200, 1, None), (200, 0, None), (429, 0, Some(60))].map(|(status, remaining, retry_after)| {
        let (limit, remaining, reset) = (Some(2), Some(remaining), Some(60));
        Read { status, limit, remaining, reset, retry_after }
    })
}

#[tokio::test]
async fn reqwest_reads_the_legacy_fields_as_numbers() {
    for server in servers(Headers::all()) {
        let client = reqwest::Client::new();
        for expected in expected() {
            let response = client.get(server.url()).send().await.unwrap();
            let number = |name: &str| {
                let value = response.headers().get(name)?;
                Some(value.to_str().unwrap().parse().unwrap())
            };
            let read = Read {
                status: response.status().as_u16(),
                limit: number("x-ratelimit-limit"),
                remaining: number("x-ratelimit-remaining"),
                reset: number("x-ratelimit-reset"),
                retry_after: number("retry-after"),
            };
            assert_eq!(read, expected, "{}", server.name);
        }
    }
}

/// Reads a field as a list of strings with parameters.
fn list(response: &reqwest::Response, name: &str) -> Vec<(String, Item)> {
    let [line] = response.headers().get_all(name).iter().collect::<Vec<_>>()[..] else {
        panic!("{name} must have one line: {:?}", response.headers());
    };
    let list: List = Parser::new(line.as_bytes()).parse().unwrap();
    let entries = list.into_iter().map(|entry| match entry {
        ListEntry::Item(item) => match &item.bare_item {
            BareItem::String(name) => (name.as_str().to_owned(), item),
            other => panic!("{other:?}"),
        },
        ListEntry::InnerList(list) => panic!("{list:?}"),
    });
    entries.collect()
}

fn integer(item: &Item, name: &str) -> Option<u64> {
    match item.params.get(name)? {
        BareItem::Integer(number) => Some(i64::from(*number).try_into().unwrap()),
        other => panic!("{name}: {other:?}"),
    }
}

#[tokio::test]
async fn the_fields_of_the_draft_are_structured_fields() {
    let headers = Headers::default().partition_key("0123456789abcdef");
    for server in servers(headers) {
        let client = reqwest::Client::new();
        let mut partitions = Vec::new();
        for expected in expected() {
            let response = client.get(server.url()).send().await.unwrap();
            let [(policy_name, policy)] = &list(&response, "ratelimit-policy")[..] else {
                panic!()
            };
            let [(name, limit)] = &list(&response, "ratelimit")[..] else { panic!() };
            assert_eq!((&**policy_name, &**name), ("api", "api"));
            let retry_after = response.headers().get("retry-after");
            let read = Read {
                status: response.status().as_u16(),
                limit: integer(policy, "q"),
                remaining: integer(limit, "r"),
                reset: integer(limit, "t"),
                retry_after: retry_after.map(|secs| secs.to_str().unwrap().parse().unwrap()),
            };
            assert_eq!(read, expected, "{}", server.name);
            assert_eq!(integer(policy, "w"), Some(60));
            assert_eq!(policy.params.get("pk"), limit.params.get("pk"));
            partitions.extend(limit.params.get("pk").cloned());
        }
        let [BareItem::ByteSequence(one), two, three] = &partitions[..] else { panic!() };
        assert_eq!(one.len(), 16);
        assert!(
            partitions[0] == *two && two == three,
            "all responses to a client must have the same partition key"
        );
    }
}

#[tokio::test]
async fn nested_layers_share_one_field() {
    let (limiter, _) = limiter([Rule::per_minute("inner", 2), Rule::per_hour("outer", 9)]);
    let app = axum::Router::new()
        .route("/", axum::routing::get(crate::servers::hello))
        .layer(RateThrottleLayer::new(&limiter).rule("inner"))
        .layer(RateThrottleLayer::new(&limiter).rule("outer"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let service = app.into_make_service_with_connect_info::<std::net::SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    let response = reqwest::get(url).await.unwrap();
    let remaining: Vec<_> = list(&response, "ratelimit")
        .into_iter()
        .map(|(name, item)| (name, integer(&item, "r").unwrap()))
        .collect();
    assert_eq!(remaining, [("inner".to_owned(), 1), ("outer".to_owned(), 8)]);
    let windows: Vec<_> = list(&response, "ratelimit-policy")
        .into_iter()
        .map(|(_, item)| integer(&item, "w").unwrap())
        .collect();
    assert_eq!(windows, [60, 3600]);
}

/// Returns whether a program is installed; if not, reports that the test is skipped.
pub(crate) fn has(program: &str) -> bool {
    let is_installed = Command::new(program).arg("--version").output().is_ok();
    if !is_installed {
        eprintln!("SKIPPED: {program} is not installed");
    }
    is_installed
}

pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().expect("the program is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn curl(url: &str) -> Command {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--noproxy", "*", url]);
    command
}

#[test]
fn curl_reads_every_field() {
    if !has("curl") {
        return;
    }
    for server in servers(Headers::all()) {
        for expected in expected() {
            let head =
                output(curl(&server.url()).args(["--dump-header", "-", "--output", "/dev/null"]));
            let (status, fields) = head.split_once("\r\n").unwrap();
            let field = |wanted: &str| {
                let field = |line: &str| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case(wanted).then(|| value.to_owned())
                };
                fields.lines().find_map(field)
            };
            let number = |name: &str| field(name).map(|value| value.parse().unwrap());
            let read = Read {
                status: status.split(' ').nth(1).unwrap().parse().unwrap(),
                limit: number("x-ratelimit-limit"),
                remaining: number("x-ratelimit-remaining"),
                reset: number("x-ratelimit-reset"),
                retry_after: number("retry-after"),
            };
            assert_eq!(read, expected, "{}: {head}", server.name);
            let remaining = expected.remaining.unwrap();
            assert_eq!(field("ratelimit").unwrap(), format!("\"api\";r={remaining};t=60"));
            assert_eq!(field("ratelimit-policy").unwrap(), "\"api\";q=2;w=60");
        }
    }
}

#[test]
fn curl_is_allowed_a_hundred_times_and_then_rejected() {
    if !has("curl") {
        return;
    }
    let a_hundred = || limiter([Rule::per_minute("api", 100)]).0;
    let servers = [
        Server::axum(RateThrottleLayer::new(a_hundred())),
        Server::actix(RateThrottle::new(a_hundred())),
    ];
    for server in servers {
        let url = format!("{}?[1-101]", server.url());
        let heads = output(curl(&url).args(["--dump-header", "-", "--output", "/dev/null"]));
        let heads: Vec<_> = heads.trim_end().split("\r\n\r\n").map(str::to_lowercase).collect();
        assert_eq!(heads.len(), 101, "{}", server.name);
        for (head, left) in heads.iter().zip((0..100).rev()) {
            assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
            assert!(head.contains(&format!("ratelimit: \"api\";r={left};t=60")), "{head}");
        }
        let fields = [
            "http/1.1 429 ",
            "retry-after: 60",
            "ratelimit: \"api\";r=0;t=60",
            "ratelimit-policy: \"api\";q=100;w=60",
            "content-type: application/problem+json",
        ];
        for field in fields {
            assert!(heads[100].contains(field), "{}", heads[100]);
        }
    }
}

#[test]
fn curl_retries_after_retry_after_and_is_allowed() {
    if !has("curl") {
        return;
    }
    type Start = fn(&Limiter) -> Server;
    let axum: Start = |limiter| Server::axum(RateThrottleLayer::new(limiter));
    let actix: Start = |limiter| Server::actix(RateThrottle::new(limiter));
    for start in [axum, actix] {
        let (limiter, clock) = limiter([Rule::new("api", 1, Duration::from_secs(2))]);
        // The window ends at once, but the client still waits for its Retry-After.
        limiter.on_violation(move |_| clock.advance(Duration::from_secs(2)));
        let server = start(&limiter);
        assert_eq!(output(&mut curl(&server.url())), "hello");
        let begin = Instant::now();
        let retried =
            output(curl(&server.url()).args(["--retry", "2", "--write-out", " %{http_code}"]));
        assert!(retried.ends_with("hello 200"), "{}: {retried}", server.name);
        // Without Retry-After, curl would wait for one second.
        assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
        assert_eq!(limiter.metrics().denied, 1);
    }
}

/// Returns the directory of the npm package; if it is not installed, reports that the test is skipped.
fn npm_package() -> Option<PathBuf> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/npm/node_modules");
    if !root.join("ratelimit-header-parser").is_dir() {
        eprintln!(
            "SKIPPED: the npm package is not installed: \
             npm install --prefix target/npm ratelimit-header-parser@0.1.0"
        );
        return None;
    }
    has("node").then_some(root)
}

/// Sends three requests by `fetch` of Node.js, and returns the values that the package reads. The reset is in
/// seconds since `reset_since`: `now` or `1970`.
fn read_by_the_package(url: &str, modules: &std::path::Path, reset_since: &str) -> Vec<Read> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/ratelimit.cjs");
    let mut node = Command::new("node");
    let lines = output(node.arg(script).arg(modules).args([url, "3", reset_since]));
    let read = lines.lines().map(|line| {
        let read: serde_json::Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| read[name].as_u64();
        Read {
            status: read["status"].as_u64().unwrap().try_into().unwrap(),
            limit: number("limit"),
            remaining: number("remaining"),
            reset: number("reset"),
            retry_after: number("retryAfter"),
        }
    });
    read.collect()
}

#[test]
fn the_npm_package_reads_the_legacy_fields() {
    let Some(modules) = npm_package() else { return };
    for server in servers(Headers::none().legacy(true).retry_after(true)) {
        let read = read_by_the_package(&server.url(), &modules, "now");
        assert_eq!(read, expected(), "{}", server.name);
    }
}

#[test]
fn the_npm_package_distinguishes_a_reset_time_from_seconds() {
    let Some(modules) = npm_package() else { return };
    let headers = Headers::none().legacy(true).retry_after(true).legacy_reset_as_unix_time(true);
    for server in servers(headers) {
        let read = read_by_the_package(&server.url(), &modules, "1970");
        let reset = Some(START + 60);
        assert_eq!(read, expected().map(|read| Read { reset, ..read }), "{}", server.name);
    }
}

#[test]
fn the_npm_package_reads_the_fields_of_older_revisions() {
    let Some(modules) = npm_package() else { return };
    for headers in [Headers::none().draft_7(true), Headers::none().draft_6(true)] {
        for server in servers(headers.retry_after(true)) {
            let read = read_by_the_package(&server.url(), &modules, "now");
            assert_eq!(read, expected(), "{}: {headers:?}", server.name);
        }
    }
}

/// Shows a limit of the package, which supports only drafts before the 8th: if it finds the field of a later draft, it
/// reads no other field.
#[test]
fn the_npm_package_cannot_read_the_fields_of_the_draft_yet() {
    let Some(modules) = npm_package() else { return };
    for server in servers(Headers::all()) {
        for read in read_by_the_package(&server.url(), &modules, "now") {
            assert_eq!((read.limit, read.remaining, read.reset), (None, None, None), "{read:?}");
        }
    }
}
