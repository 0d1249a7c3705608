//! Request targets in all their forms.

use http::{Method, Request};
use throttle_http::identity::{ClientIp, RequestHost, RequestMethod, RequestPath};

use crate::http::{
    case::{Case, ask_by, get_from, get_path, with},
    cases::{
        identity::{again, case, first},
        setup::modern,
    },
};

pub(super) fn cases() -> Vec<Case> {
    vec![paths(), hosts(), addresses(), methods()]
}

fn paths() -> Case {
    case("the path of an absolute target is read, for any host", modern().key(RequestPath))
        .ask(get_path("/a"), first())
        .ask(get_path("http://example.org/a"), again())
        .ask(get_path("http://example.com:8080/a?b=c"), again())
        .ask(get_path("https://example.org/a"), again())
        .ask(get_path("http://example.org/b"), first())
        .ask(get_path("/b?x"), again())
        .ask(get_path("http://example.org"), first())
        .ask(get_path("/"), again())
        .ask(get_path("/%61"), again())
        .ask(get_path("/%2561"), first())
        .ask(get_path("/A"), first())
        .ask(get_path("//a"), first())
}

fn hosts() -> Case {
    let of = |host: &'static str| with(get_path("/a"), "host", host);
    case("a host in the target and in the field is the same host", modern().key(RequestHost))
        .ask(get_path("http://api.example.com/"), first())
        .ask(get_path("http://API.example.com:80/a"), again())
        .ask(of("api.example.com"), again())
        .ask(of("Api.Example.Com:80"), again())
        .ask(get_path("http://api.example.com:8080/"), first())
        .ask(of("api.example.com:8080"), again())
        .ask(of("example.com"), first())
        .ask(of("[2001:db8::1]:80"), first())
        .ask(get_path("http://[2001:db8::1]/"), again())
}

fn addresses() -> Case {
    let ask = |target: &'static str, peer| {
        let mut request = get_from(peer);
        *request.uri_mut() = target.parse().unwrap();
        request
    };
    case("a target does not change the client", modern())
        .ask(ask("http://198.51.100.1/", "192.0.2.1"), first())
        .ask(ask("http://198.51.100.2/", "192.0.2.1"), again())
        .ask(ask("/?client=198.51.100.3", "192.0.2.1"), again())
        .ask(ask("http://192.0.2.1/", "192.0.2.2"), first())
}

fn methods() -> Case {
    let named = |method, name: &'static str| -> Request<_> { with(ask_by(method), name, "DELETE") };
    case("the method is that of the request line", modern().key((RequestMethod, ClientIp::new())))
        .ask(named(Method::GET, "x-http-method-override"), first())
        .ask(named(Method::GET, "x-http-method"), again())
        .ask(named(Method::GET, "x-method-override"), again())
        .ask(ask_by(Method::DELETE), first())
        .ask(ask_by(Method::HEAD), first())
        .ask(ask_by(Method::OPTIONS), first())
        .ask(ask_by(Method::OPTIONS), again())
        .ask(ask_by(Method::from_bytes(b"PROPFIND").unwrap()), first())
        .ask(ask_by(Method::from_bytes(b"propfind").unwrap()), first())
}
