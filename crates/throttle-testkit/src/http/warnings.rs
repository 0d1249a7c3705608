//! Warnings about probable configuration errors: a single log line that contains the fix.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request};
use throttle_core::{Key, Rule};
use throttle_http::{
    Options, RequestHead,
    identity::{AsyncKey, ClientIp, ForwardedHeader, Header, OnMissing, RequestMethod},
};

use crate::{
    Log,
    http::{
        adapter::Adapter,
        case::{get_from, get_path, with},
        fixture::{App, Fixture, api},
        run::scenarios,
    },
};

const PROXY: &str = "10.0.0.1";
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";
const REAL_IP: &str = "x-real-ip";

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn warnings(&self) {
        scenarios!(
            self, "warnings";
            an_untrusted_proxy_is_warned_about_once,
            a_trusted_proxy_that_does_not_name_its_client_is_warned_about,
            every_entry_without_an_address_is_warned_about,
            no_warning_with_a_trusted_proxy_or_without_addresses,
            a_trusted_network_of_all_addresses_is_warned_about_at_start,
            a_key_of_a_whole_ipv6_address_is_warned_about_once,
            costs_that_no_rule_allows_are_warned_about_at_start,
            a_key_function_that_never_finds_a_key_is_warned_about,
            requests_after_the_first_thousand_are_not_inspected,
            declared_rules_that_nothing_selects_are_warned_about_at_start,
            a_rule_that_no_layer_applies_is_warned_about_after_a_thousand_requests,
            a_rejection_is_logged_without_its_key,
        );
    }

    async fn declared_rules_that_nothing_selects_are_warned_about_at_start(&self) {
        let (log, _guard) = Log::start();
        self.generous(Options::new().declare_rules(["api"])).await;
        warns(&log, &["WARN", "`.declare_rules(…)`", "`.select_rules(…)`"]);
        let declared = || Options::new().declare_rules(["api"]);
        self.generous(declared().select_rules(|_, _| "api")).await;
        self.generous(declared().key(later(text))).await;
        logs_nothing(&log, "these rules can be selected");
    }

    async fn a_rule_that_no_layer_applies_is_warned_about_after_a_thousand_requests(&self) {
        let (log, _guard) = Log::start();
        let limits = || self.limits(["api", "spare"].map(|name| Rule::per_day(name, 9_999)));
        let api = || Options::new().rule("api");
        let app = self.app(&limits(), [api()]).await;
        for _ in 0..999 {
            ask(&app, get_from("192.0.2.1")).await;
        }
        logs_nothing(&log, "another layer may be built later");
        ask(&app, get_from("192.0.2.1")).await;
        warns(&log, &["WARN", "\"spare\"", "`.rule(…)`"]);

        let limits = limits();
        let selects = api().select_rules(|_, _| "api").declare_rules(["spare"]);
        let _quiet = self.app(&limits, [selects]).await;
        let app = self.app(&limits, [api()]).await;
        for _ in 0..1000 {
            ask(&app, get_from("192.0.2.1")).await;
        }
        logs_nothing(&log, "another layer can apply the rule");
    }

    async fn a_rejection_is_logged_without_its_key(&self) {
        let (log, _guard) = Log::start_debug();
        let app = self.serve([api(1)], [Options::new().key(Header::new("x-api-key"))]).await;
        let ask = || with(get_path("/users/1"), "x-api-key", "hunter2");
        app.status(ask()).await;
        assert!(!log.take().contains("rejected"), "the request is allowed");
        app.status(ask()).await;
        let text = log.take();
        for part in [
            "DEBUG ratethrottle::rejection:",
            "reason=rule",
            "status=429",
            "rule=\"api\"",
            "limit=1",
            "retry_after_secs=60",
        ] {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        assert!(!text.contains("hunter2"), "{text}");
        match text.contains("route=") {
            true => assert!(text.contains("route=\"/users/{id}\""), "{text}"),
            false => self.run.unchecked("routes"),
        }
    }

    async fn generous(&self, options: Options) -> App<'_, A> {
        self.serve([Rule::per_day("api", 9_999)], [options]).await
    }

    async fn an_untrusted_proxy_is_warned_about_once(&self) {
        let (log, _guard) = Log::start();
        for options in [
            Options::new(),
            Options::new().key(ClientIp::new()),
            Options::new().key(api_key(OnMissing::ClientIp(ClientIp::new()))),
            Options::new().key((api_key(OnMissing::Anonymous), ClientIp::new())),
            Options::new().key(|head: &RequestHead<'_>| head.peer()),
            Options::new().key((RequestMethod, text)),
            Options::new().key(later(text)),
            Options::new().key((RequestMethod, later(text))),
            Options::new().key(later(|_| None).missing(OnMissing::ClientIp(ClientIp::new()))),
        ] {
            for (field, select) in [
                (FORWARDED_FOR, "[\"10.0.0.1\"]))`"),
                (FORWARDED, "Forwarded"),
                (REAL_IP, "XRealIp"),
                ("cf-connecting-ip", "CfConnectingIp"),
                ("true-client-ip", "TrueClientIp"),
                ("fly-client-ip", "FlyClientIp"),
            ] {
                let service = self.generous(options.clone()).await;
                ask(&service, get_from("192.0.2.1")).await;
                logs_nothing(&log, "the request did not pass a proxy");
                ask(&service, forwarded(field)).await;
                warns(&log, &["WARN", PROXY, field, "trusted_proxies", select]);
                ask(&service, forwarded(field)).await;
                logs_nothing(&log, "the warning was already logged");
            }
        }
    }

    async fn a_trusted_proxy_that_does_not_name_its_client_is_warned_about(&self) {
        let (log, _guard) = Log::start();
        for (key, [read, other], setting) in [
            (behind_proxies(), [FORWARDED_FOR, FORWARDED], "`option forwardfor`"),
            (by_forwarded(), [FORWARDED, FORWARDED_FOR], "`option forwarded`"),
            (by_real_ip(), [REAL_IP, FORWARDED_FOR], "`proxy_set_header X-Real-IP"),
        ] {
            let requests: [(Request<Bytes>, &[&str]); 3] = [
                (get_from(PROXY), &["no header field", "`.exempt_paths(…)`"]),
                (forwarded(other), &[other, "`.header(ForwardedHeader::"]),
                (with_field(PROXY, read, "203.0.113.1, for=unknown"), &["last entry"]),
            ];
            for options in [
                Options::new().key(key.clone()),
                Options::new().key((RequestMethod, key.clone())),
                Options::new().key(api_key(OnMissing::ClientIp(key.clone()))),
                Options::new().key(later(|_| None).missing(OnMissing::ClientIp(key.clone()))),
            ] {
                let service = self.generous(options).await;
                ask(&service, forwarded(read)).await;
                ask(&service, get_from("192.0.2.1")).await;
                logs_nothing(&log, "the proxy names its client, and the other peer is not a proxy");
                for (request, words) in &requests {
                    ask(&service, request.clone()).await;
                    let line = warns(&log, words);
                    for word in ["WARN", "10.0.0.0/8", read, setting] {
                        assert!(line.contains(word), "{word} is not in: {line}");
                    }
                    for address in [PROXY, "203.0.113.1"] {
                        assert!(!line.contains(address), "{address} is in: {line}");
                    }
                }
                for (request, _) in &requests {
                    ask(&service, request.clone()).await;
                }
                logs_nothing(&log, "each kind of warning was already logged");
            }
        }
    }

    async fn every_entry_without_an_address_is_warned_about(&self) {
        let (log, _guard) = Log::start();
        for (key, read) in [(behind_proxies(), FORWARDED_FOR), (by_forwarded(), FORWARDED)] {
            for entry in ["", "unknown", "unix:", "203.0.113.1,", "203.0.113.1, for=_hidden"] {
                let service = self.generous(Options::new().key(key.clone())).await;
                ask(&service, with_field("2001:db8:1::7", read, entry)).await;
                warns(&log, &["WARN", "last entry", read, "2001:db8:1::/48"]);
            }
            let service = self.generous(Options::new().key(key.clone())).await;
            ask(&service, with_field("::ffff:10.0.0.1", read, "for=unknown")).await;
            warns(&log, &["last entry", "10.0.0.0/8"]);
        }
    }

    async fn no_warning_with_a_trusted_proxy_or_without_addresses(&self) {
        let (log, _guard) = Log::start();
        for options in [
            Options::new().key(ClientIp::new().trusted_proxies(["10.0.0.0/8"])),
            Options::new().key(ClientIp::new().trusted_proxies(["192.0.2.7"])),
            Options::new().key(|_: &RequestHead<'_>| "all"),
            Options::new().key(later(|_| Some("all".to_owned()))),
            Options::new().key((RequestMethod, api_key(OnMissing::Anonymous))),
        ] {
            let service = self.generous(options).await;
            ask(&service, forwarded(FORWARDED_FOR)).await;
        }
        logs_nothing(&log, "these configurations are correct");
    }

    async fn a_trusted_network_of_all_addresses_is_warned_about_at_start(&self) {
        let (log, _guard) = Log::start();
        for network in ["0.0.0.0/0", "::/0"] {
            let key = ClientIp::new().trusted_proxies(["10.0.0.0/8", network]);
            let options = Options::new().key((api_key(OnMissing::Anonymous), key));
            let service = self.generous(options).await;
            warns(&log, &["WARN", "0.0.0.0/0", "trusted_proxies"]);
            ask(&service, forwarded(FORWARDED_FOR)).await;
            logs_nothing(&log, "the warning was already logged");
        }
    }

    async fn a_key_of_a_whole_ipv6_address_is_warned_about_once(&self) {
        let (log, _guard) = Log::start();
        let key = |head: &RequestHead<'_>| head.peer().map(Key::from);
        for options in [
            Options::new().key(text),
            Options::new().key(key),
            Options::new().key((RequestMethod, text)),
            Options::new().key(later(text)),
        ] {
            let service = self.generous(options).await;
            for peer in ["192.0.2.1", "::ffff:192.0.2.1"] {
                ask(&service, get_from(peer)).await;
            }
            logs_nothing(&log, "a client has only one IPv4 address");
            ask(&service, get_from("2001:db8::7")).await;
            warns(&log, &["WARN", "2001:db8::7", "Key::network(address, 64)"]);
            ask(&service, get_from("2001:db8::8")).await;
            logs_nothing(&log, "the warning was already logged");
        }
        let address = |head: &RequestHead<'_>| head.peer();
        for options in [
            Options::new().key(ClientIp::new()),
            Options::new().key(address),
            Options::new().key((RequestMethod, address)),
        ] {
            let service = self.generous(options).await;
            ask(&service, get_from("2001:db8::7")).await;
            logs_nothing(&log, "these keys are networks");
        }
    }

    async fn costs_that_no_rule_allows_are_warned_about_at_start(&self) {
        let (log, _guard) = Log::start();
        self.generous(Options::new().shape()).await;
        warns(&log, &["WARN", "leaky bucket", "`.shape()`"]);
        self.generous(Options::new().cost(10_000)).await;
        warns(&log, &["WARN", "\"api\"", "10000", "9999"]);
        self.generous(Options::new().cost(9_999)).await;
        self.generous(Options::new().cost(10_000).select_rules(|_, _| "api").shape()).await;
        logs_nothing(&log, "these configurations may be correct");
    }

    async fn a_key_function_that_never_finds_a_key_is_warned_about(&self) {
        let (log, _guard) = Log::start();
        let user = |head: &RequestHead<'_>| head.header("x-user").map(str::to_owned);
        for options in [
            Options::new().key(user),
            Options::new().key((RequestMethod, user)),
            Options::new().key(later(|head| head.header("x-user").map(str::to_owned))),
        ] {
            let service = self.generous(options.clone()).await;
            for _ in 0..19 {
                service.call(get_from("192.0.2.1")).await;
            }
            logs_nothing(&log, "too few requests for a warning");
            service.call(get_from("192.0.2.1")).await;
            warns(&log, &["WARN", "first 20 requests", "`.extension::<T>()`"]);
            service.call(get_from("192.0.2.1")).await;
            logs_nothing(&log, "the warning was already logged");

            let service = self.generous(options).await;
            let mut known = get_from("192.0.2.1");
            known.headers_mut().insert("x-user", HeaderValue::from_static("alice"));
            ask(&service, known).await;
            for _ in 0..40 {
                service.call(get_from("192.0.2.1")).await;
            }
            logs_nothing(&log, "the function finds some keys");
        }
    }

    async fn requests_after_the_first_thousand_are_not_inspected(&self) {
        let (log, _guard) = Log::start();
        let service = self.generous(Options::new()).await;
        for _ in 0..1000 {
            ask(&service, get_from("192.0.2.1")).await;
        }
        ask(&service, forwarded(FORWARDED_FOR)).await;
        logs_nothing(&log, "only the first thousand requests are inspected");
    }
}

async fn ask<A: Adapter>(service: &App<'_, A>, request: Request<Bytes>) {
    assert_eq!(service.status(request).await, 200);
}

#[track_caller]
fn warns(log: &Log, words: &[&str]) -> String {
    let lines = log.take();
    assert_eq!(lines.lines().count(), 1, "expected one line with {words:?}: {lines}");
    for word in words {
        assert!(lines.contains(word), "{word} is not in: {lines}");
    }
    lines
}

#[track_caller]
fn logs_nothing(log: &Log, why: &str) {
    assert_eq!(log.take(), "", "{why}");
}

fn text(head: &RequestHead<'_>) -> Option<String> {
    head.peer().map(|peer| peer.to_string())
}

/// Creates an asynchronous key with the same result.
fn later(find: impl Fn(&RequestHead<'_>) -> Option<String> + Send + Sync + 'static) -> AsyncKey {
    AsyncKey::new(move |head: &RequestHead<'_>| {
        let found = find(head);
        async { Ok::<_, Infallible>(found) }
    })
}

fn api_key(missing: OnMissing) -> Header {
    Header::new("x-api-key").missing(missing)
}

fn behind_proxies() -> ClientIp {
    ClientIp::new().trusted_proxies(["10.0.0.0/8", "2001:db8:1::/48"])
}

fn by_forwarded() -> ClientIp {
    behind_proxies().header(ForwardedHeader::Forwarded)
}

fn by_real_ip() -> ClientIp {
    behind_proxies().header(ForwardedHeader::XRealIp)
}

fn forwarded(field: &'static str) -> Request<Bytes> {
    let client = if field == FORWARDED { "for=203.0.113.1" } else { "203.0.113.1" };
    with_field(PROXY, field, client)
}

fn with_field(peer: &str, field: &'static str, value: &'static str) -> Request<Bytes> {
    let mut request = get_from(peer);
    request.headers_mut().insert(field, HeaderValue::from_static(value));
    request
}
