//! What real clients read in the header fields: reqwest, the structured fields of RFC 9651, curl, and the npm
//! package `ratelimit-header-parser`.
//!
//! Where curl, Node.js or the package is not there, a test says that it was skipped; `scripts/test` installs the
//! package, and says so, too.

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

/// Where the clocks of the limiters stand, in seconds since 1970: 2026 begins.
const BEGIN: u64 = 1_767_225_600;

/// Returns a limiter of these rules, whose clock stands where every window begins.
fn limiter(rules: impl IntoIterator<Item = Rule>) -> (Limiter, ManualClock) {
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN));
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
    for rule in rules {
        limiter.add_rule(rule.algorithm(Algorithm::FixedWindow)).unwrap();
    }
    (limiter, clock)
}

fn two_a_minute() -> Limiter {
    limiter([Rule::per_minute("api", 2)]).0
}

/// Returns both servers, each with a limiter of its own.
fn servers(headers: Headers) -> [Server; 2] {
    [
        Server::axum(RateThrottleLayer::new(two_a_minute()).headers(headers)),
        Server::actix(RateThrottle::new(two_a_minute()).headers(headers)),
    ]
}

/// What a client reads of one response, in whatever way.
#[derive(PartialEq, Eq, Debug, Default)]
struct Read {
    status: u16,
    limit: Option<u64>,
    remaining: Option<u64>,
    reset: Option<u64>,
    retry_after: Option<u64>,
}

/// What three requests in a row are told.
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
        panic!("{name} has not one line: {:?}", response.headers());
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
async fn the_draft_s_fields_are_structured_ones() {
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
        assert!(partitions[0] == *two && two == three, "one client has one partition");
    }
}

#[tokio::test]
async fn layers_within_each_other_are_read_in_one_field() {
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

/// Returns whether a program is installed; if not, says that the test is skipped.
pub(crate) fn has(program: &str) -> bool {
    let is_there = Command::new(program).arg("--version").output().is_ok();
    if !is_there {
        eprintln!("SKIPPED: {program} is not installed");
    }
    is_there
}

pub(crate) fn output(command: &mut Command) -> String {
    let output = command.output().expect("it is installed");
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
fn curl_in_a_loop_passes_a_hundred_times_and_then_is_refused() {
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
fn curl_waits_as_long_as_retry_after_says_and_then_passes() {
    if !has("curl") {
        return;
    }
    type Start = fn(&Limiter) -> Server;
    let axum: Start = |limiter| Server::axum(RateThrottleLayer::new(limiter));
    let actix: Start = |limiter| Server::actix(RateThrottle::new(limiter));
    for start in [axum, actix] {
        let (limiter, clock) = limiter([Rule::new("api", 1, Duration::from_secs(2))]);
        // The window passes at once; the client does not know it.
        limiter.on_violation(move |_| clock.advance(Duration::from_secs(2)));
        let server = start(&limiter);
        assert_eq!(output(&mut curl(&server.url())), "hello");
        let begin = Instant::now();
        let retried =
            output(curl(&server.url()).args(["--retry", "2", "--write-out", " %{http_code}"]));
        assert!(retried.ends_with("hello 200"), "{}: {retried}", server.name);
        // On its own it would wait for a second.
        assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
        assert_eq!(limiter.metrics().denied, 1);
    }
}

/// Returns where the npm package is; if it is not, says that the test is skipped.
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

/// Asks three times by `fetch` of Node, and returns what the package reads in each response; a reset in
/// seconds from now, or since 1970.
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
fn the_npm_package_tells_a_moment_of_reset_from_seconds() {
    let Some(modules) = npm_package() else { return };
    let headers = Headers::none().legacy(true).retry_after(true).legacy_reset_as_unix_time(true);
    for server in servers(headers) {
        let read = read_by_the_package(&server.url(), &modules, "1970");
        let reset = Some(BEGIN + 60);
        assert_eq!(read, expected().map(|read| Read { reset, ..read }), "{}", server.name);
    }
}

/// The package knows the drafts before the 8th: where it finds the field of a later one it reads nothing else.
#[test]
fn the_npm_package_cannot_read_the_draft_s_fields_yet() {
    let Some(modules) = npm_package() else { return };
    for server in servers(Headers::all()) {
        for read in read_by_the_package(&server.url(), &modules, "now") {
            assert_eq!((read.limit, read.remaining, read.reset), (None, None, None), "{read:?}");
        }
    }
}
