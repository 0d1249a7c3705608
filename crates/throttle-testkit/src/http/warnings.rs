//! What looks like a mistake is a line of the log that names what to do, and one only.

use std::convert::Infallible;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use throttle_core::{Key, Limiter, Rule, Storage};
use throttle_http::{
    Options, RequestHead,
    identity::{AsyncKey, ClientIp, Header, Missing, RequestMethod},
};

use super::case::get_from;

const PROXY: &str = "10.0.0.1";
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Makes services whose options look wrong, and some whose options look right, and reads what is logged
/// about them. The adapter is called as in [`run`](super::run); `log` returns what was logged since it was
/// last called.
///
/// # Panics
///
/// When a line lacks, does not say what it should, or is one too many.
pub async fn run_warnings<St, S, L, M, C>(storage: impl Fn() -> St, log: L, make: M, call: C)
where
    St: Storage,
    L: Fn() -> String,
    M: AsyncFn(Options, Limiter) -> S,
    C: AsyncFn(&S, Request<Bytes>) -> Response<Bytes>,
{
    let make = async |options| {
        let limiter = Limiter::new(storage());
        limiter.add_rule(Rule::per_day("api", 9_999)).expect("the rule can be kept");
        make(options, limiter).await
    };
    let adapter = Adapter { log, make, call };
    adapter.a_proxy_that_is_not_trusted_is_named_once().await;
    adapter.where_a_proxy_is_trusted_or_no_address_is_asked_for_nothing_is_said().await;
    adapter.trust_in_everybody_is_said_when_the_service_is_made().await;
    adapter.a_key_that_is_a_whole_ipv6_address_is_shown_once().await;
    adapter.what_can_never_happen_by_the_rules_is_said_when_the_service_is_made().await;
    adapter.a_function_that_never_finds_a_key_is_told_of().await;
    adapter.after_the_first_thousand_requests_nothing_is_looked_at().await;
}

struct Adapter<L, M, C> {
    log: L,
    make: M,
    call: C,
}

impl<S, L, M, C> Adapter<L, M, C>
where
    L: Fn() -> String,
    M: AsyncFn(Options) -> S,
    C: AsyncFn(&S, Request<Bytes>) -> Response<Bytes>,
{
    async fn a_proxy_that_is_not_trusted_is_named_once(&self) {
        for options in [
            Options::new(),
            Options::new().key(ClientIp::new()),
            Options::new().key(api_key(Missing::ClientIp(ClientIp::new()))),
            Options::new().key((api_key(Missing::Anonymous), ClientIp::new())),
            Options::new().key(|head: &RequestHead<'_>| head.peer()),
            Options::new().key((RequestMethod, text)),
            Options::new().key(later(text)),
            Options::new().key((RequestMethod, later(text))),
            Options::new().key(later(|_| None).missing(Missing::ClientIp(ClientIp::new()))),
        ] {
            for field in [FORWARDED_FOR, "forwarded"] {
                let service = (self.make)(options.clone()).await;
                self.ask(&service, get_from("192.0.2.1")).await;
                self.says_nothing("no proxy, no word");
                self.ask(&service, forwarded(field)).await;
                self.says(&["WARN", PROXY, field, "trusted_proxies"]);
                self.ask(&service, forwarded(field)).await;
                self.says_nothing("once is enough");
            }
        }
    }

    async fn where_a_proxy_is_trusted_or_no_address_is_asked_for_nothing_is_said(&self) {
        for options in [
            Options::new().key(ClientIp::new().trusted_proxies(["10.0.0.0/8"])),
            Options::new().key(ClientIp::new().trusted_proxies(["192.0.2.7"])),
            Options::new().key(|_: &RequestHead<'_>| "all"),
            Options::new().key(later(|_| Some("all".to_owned()))),
            Options::new().key((RequestMethod, api_key(Missing::Anonymous))),
        ] {
            let service = (self.make)(options).await;
            self.ask(&service, forwarded(FORWARDED_FOR)).await;
        }
        self.says_nothing("these are right");
    }

    async fn trust_in_everybody_is_said_when_the_service_is_made(&self) {
        for network in ["0.0.0.0/0", "::/0"] {
            let key = ClientIp::new().trusted_proxies(["10.0.0.0/8", network]);
            let options = Options::new().key((api_key(Missing::Anonymous), key));
            let service = (self.make)(options).await;
            self.says(&["WARN", "0.0.0.0/0", "trusted_proxies"]);
            self.ask(&service, forwarded(FORWARDED_FOR)).await;
            self.says_nothing("it was said");
        }
    }

    async fn a_key_that_is_a_whole_ipv6_address_is_shown_once(&self) {
        let key = |head: &RequestHead<'_>| head.peer().map(Key::from);
        for options in [
            Options::new().key(text),
            Options::new().key(key),
            Options::new().key((RequestMethod, text)),
            Options::new().key(later(text)),
        ] {
            let service = (self.make)(options).await;
            for peer in ["192.0.2.1", "::ffff:192.0.2.1"] {
                self.ask(&service, get_from(peer)).await;
            }
            self.says_nothing("a client has one of them");
            self.ask(&service, get_from("2001:db8::7")).await;
            self.says(&["WARN", "2001:db8::7", "Key::network(address, 64)"]);
            self.ask(&service, get_from("2001:db8::8")).await;
            self.says_nothing("once is enough");
        }
        let address = |head: &RequestHead<'_>| head.peer();
        for options in [
            Options::new().key(ClientIp::new()),
            Options::new().key(address),
            Options::new().key((RequestMethod, address)),
        ] {
            let service = (self.make)(options).await;
            self.ask(&service, get_from("2001:db8::7")).await;
            self.says_nothing("these are cut to the network");
        }
    }

    async fn what_can_never_happen_by_the_rules_is_said_when_the_service_is_made(&self) {
        (self.make)(Options::new().shape()).await;
        self.says(&["WARN", "leaky bucket", "`.shape()`"]);
        (self.make)(Options::new().cost(10_000)).await;
        self.says(&["WARN", "\"api\"", "10000", "9999"]);
        (self.make)(Options::new().cost(9_999)).await;
        (self.make)(Options::new().cost(10_000).rules_by(|_, _| "api").shape()).await;
        self.says_nothing("it may be right");
    }

    async fn a_function_that_never_finds_a_key_is_told_of(&self) {
        let user = |head: &RequestHead<'_>| head.header("x-user").map(str::to_owned);
        for options in [
            Options::new().key(user),
            Options::new().key((RequestMethod, user)),
            Options::new().key(later(|head| head.header("x-user").map(str::to_owned))),
        ] {
            let service = (self.make)(options.clone()).await;
            for _ in 0..19 {
                (self.call)(&service, get_from("192.0.2.1")).await;
            }
            self.says_nothing("that may be chance");
            (self.call)(&service, get_from("192.0.2.1")).await;
            self.says(&["WARN", "first 20 requests", "`.extension::<T>()`"]);
            (self.call)(&service, get_from("192.0.2.1")).await;
            self.says_nothing("once is enough");

            let service = (self.make)(options).await;
            let mut known = get_from("192.0.2.1");
            known.headers_mut().insert("x-user", HeaderValue::from_static("alice"));
            self.ask(&service, known).await;
            for _ in 0..40 {
                (self.call)(&service, get_from("192.0.2.1")).await;
            }
            self.says_nothing("it finds some");
        }
    }

    async fn after_the_first_thousand_requests_nothing_is_looked_at(&self) {
        let service = (self.make)(Options::new()).await;
        for _ in 0..1000 {
            self.ask(&service, get_from("192.0.2.1")).await;
        }
        self.ask(&service, forwarded(FORWARDED_FOR)).await;
        self.says_nothing("it is late");
    }

    async fn ask(&self, service: &S, request: Request<Bytes>) {
        assert_eq!((self.call)(service, request).await.status(), 200);
    }

    #[track_caller]
    fn says(&self, words: &[&str]) {
        let lines = (self.log)();
        assert_eq!(lines.lines().count(), 1, "{words:?}: {lines}");
        for word in words {
            assert!(lines.contains(word), "{word} is not in: {lines}");
        }
    }

    #[track_caller]
    fn says_nothing(&self, why: &str) {
        assert_eq!((self.log)(), "", "{why}");
    }
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

fn api_key(missing: Missing) -> Header {
    Header::new("x-api-key").missing(missing)
}

fn forwarded(field: &'static str) -> Request<Bytes> {
    let mut request = get_from(PROXY);
    let client = if field == "forwarded" { "for=203.0.113.1" } else { "203.0.113.1" };
    request.headers_mut().insert(field, HeaderValue::from_static(client));
    request
}
