//! What looks like a mistake is a line of the log that names what to do, and one only.

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
        case::get_from,
        fixture::{App, Fixture},
        run::scenarios,
    },
};

const PROXY: &str = "10.0.0.1";
const FORWARDED_FOR: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn warnings(&self) {
        scenarios!(
            self, "warnings";
            a_proxy_that_is_not_trusted_is_named_once,
            a_trusted_proxy_that_does_not_name_its_client_is_warned_of,
            an_entry_without_an_address_is_warned_of_in_each_form,
            where_a_proxy_is_trusted_or_no_address_is_asked_for_nothing_is_said,
            trust_in_everybody_is_said_when_the_service_is_made,
            a_key_that_is_a_whole_ipv6_address_is_shown_once,
            what_can_never_happen_by_the_rules_is_said_when_the_service_is_made,
            a_function_that_never_finds_a_key_is_told_of,
            after_the_first_thousand_requests_nothing_is_looked_at,
        );
    }

    async fn generous(&self, options: Options) -> App<'_, A> {
        self.serve([Rule::per_day("api", 9_999)], [options]).await
    }

    async fn a_proxy_that_is_not_trusted_is_named_once(&self) {
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
            for field in [FORWARDED_FOR, FORWARDED] {
                let service = self.generous(options.clone()).await;
                ask(&service, get_from("192.0.2.1")).await;
                says_nothing(&log, "no proxy, no word");
                ask(&service, forwarded(field)).await;
                says(&log, &["WARN", PROXY, field, "trusted_proxies"]);
                ask(&service, forwarded(field)).await;
                says_nothing(&log, "once is enough");
            }
        }
    }

    async fn a_trusted_proxy_that_does_not_name_its_client_is_warned_of(&self) {
        let (log, _guard) = Log::start();
        for (key, [read, other], setting) in [
            (behind_proxies(), [FORWARDED_FOR, FORWARDED], "`option forwardfor`"),
            (by_forwarded(), [FORWARDED, FORWARDED_FOR], "`option forwarded`"),
        ] {
            let requests: [(Request<Bytes>, &[&str]); 3] = [
                (get_from(PROXY), &["no header field", "`.exempt_paths(…)`"]),
                (forwarded(other), &[other, "`.header(ForwardedHeader::…)`"]),
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
                says_nothing(&log, "the proxy names its client, and the other is no proxy");
                for (request, words) in &requests {
                    ask(&service, request.clone()).await;
                    let line = says(&log, words);
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
                says_nothing(&log, "once for each kind is enough");
            }
        }
    }

    async fn an_entry_without_an_address_is_warned_of_in_each_form(&self) {
        let (log, _guard) = Log::start();
        for (key, read) in [(behind_proxies(), FORWARDED_FOR), (by_forwarded(), FORWARDED)] {
            for entry in ["", "unknown", "unix:", "203.0.113.1,", "203.0.113.1, for=_hidden"] {
                let service = self.generous(Options::new().key(key.clone())).await;
                ask(&service, with_field("2001:db8:1::7", read, entry)).await;
                says(&log, &["WARN", "last entry", read, "2001:db8:1::/48"]);
            }
            let service = self.generous(Options::new().key(key.clone())).await;
            ask(&service, with_field("::ffff:10.0.0.1", read, "for=unknown")).await;
            says(&log, &["last entry", "10.0.0.0/8"]);
        }
    }

    async fn where_a_proxy_is_trusted_or_no_address_is_asked_for_nothing_is_said(&self) {
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
        says_nothing(&log, "these are right");
    }

    async fn trust_in_everybody_is_said_when_the_service_is_made(&self) {
        let (log, _guard) = Log::start();
        for network in ["0.0.0.0/0", "::/0"] {
            let key = ClientIp::new().trusted_proxies(["10.0.0.0/8", network]);
            let options = Options::new().key((api_key(OnMissing::Anonymous), key));
            let service = self.generous(options).await;
            says(&log, &["WARN", "0.0.0.0/0", "trusted_proxies"]);
            ask(&service, forwarded(FORWARDED_FOR)).await;
            says_nothing(&log, "it was said");
        }
    }

    async fn a_key_that_is_a_whole_ipv6_address_is_shown_once(&self) {
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
            says_nothing(&log, "a client has one of them");
            ask(&service, get_from("2001:db8::7")).await;
            says(&log, &["WARN", "2001:db8::7", "Key::network(address, 64)"]);
            ask(&service, get_from("2001:db8::8")).await;
            says_nothing(&log, "once is enough");
        }
        let address = |head: &RequestHead<'_>| head.peer();
        for options in [
            Options::new().key(ClientIp::new()),
            Options::new().key(address),
            Options::new().key((RequestMethod, address)),
        ] {
            let service = self.generous(options).await;
            ask(&service, get_from("2001:db8::7")).await;
            says_nothing(&log, "these are cut to the network");
        }
    }

    async fn what_can_never_happen_by_the_rules_is_said_when_the_service_is_made(&self) {
        let (log, _guard) = Log::start();
        self.generous(Options::new().shape()).await;
        says(&log, &["WARN", "leaky bucket", "`.shape()`"]);
        self.generous(Options::new().cost(10_000)).await;
        says(&log, &["WARN", "\"api\"", "10000", "9999"]);
        self.generous(Options::new().cost(9_999)).await;
        self.generous(Options::new().cost(10_000).select_rules(|_, _| "api").shape()).await;
        says_nothing(&log, "it may be right");
    }

    async fn a_function_that_never_finds_a_key_is_told_of(&self) {
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
            says_nothing(&log, "that may be chance");
            service.call(get_from("192.0.2.1")).await;
            says(&log, &["WARN", "first 20 requests", "`.extension::<T>()`"]);
            service.call(get_from("192.0.2.1")).await;
            says_nothing(&log, "once is enough");

            let service = self.generous(options).await;
            let mut known = get_from("192.0.2.1");
            known.headers_mut().insert("x-user", HeaderValue::from_static("alice"));
            ask(&service, known).await;
            for _ in 0..40 {
                service.call(get_from("192.0.2.1")).await;
            }
            says_nothing(&log, "it finds some");
        }
    }

    async fn after_the_first_thousand_requests_nothing_is_looked_at(&self) {
        let (log, _guard) = Log::start();
        let service = self.generous(Options::new()).await;
        for _ in 0..1000 {
            ask(&service, get_from("192.0.2.1")).await;
        }
        ask(&service, forwarded(FORWARDED_FOR)).await;
        says_nothing(&log, "it is late");
    }
}

async fn ask<A: Adapter>(service: &App<'_, A>, request: Request<Bytes>) {
    assert_eq!(service.status(request).await, 200);
}

#[track_caller]
fn says(log: &Log, words: &[&str]) -> String {
    let lines = log.take();
    assert_eq!(lines.lines().count(), 1, "{words:?}: {lines}");
    for word in words {
        assert!(lines.contains(word), "{word} is not in: {lines}");
    }
    lines
}

#[track_caller]
fn says_nothing(log: &Log, why: &str) {
    assert_eq!(log.take(), "", "{why}");
}

fn text(head: &RequestHead<'_>) -> Option<String> {
    head.peer().map(|peer| peer.to_string())
}

/// Finds the same, but later.
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

fn forwarded(field: &'static str) -> Request<Bytes> {
    let client = if field == FORWARDED { "for=203.0.113.1" } else { "203.0.113.1" };
    with_field(PROXY, field, client)
}

fn with_field(peer: &str, field: &'static str, value: &'static str) -> Request<Bytes> {
    let mut request = get_from(peer);
    request.headers_mut().insert(field, HeaderValue::from_static(value));
    request
}
