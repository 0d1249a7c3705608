//! The key of a request.

use std::net::IpAddr;

use bytes::Bytes;
use http::{Method, Request};
use throttle_http::{
    Options, RequestHead,
    identity::{ClientIp, Cookie, ForwardedHeader, Header, RequestMethod, RequestPath},
};

use crate::http::{
    answer::{Answer, allowed, problem, rejected},
    case::{Case, get, get_from, get_path, with},
    cases::setup::{api, modern},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        keys_of_a_header(),
        keys_that_are_not_utf_8(),
        keys_of_64_kib(),
        a_key_that_looks_like_an_address(),
        a_spoofed_field(),
        trusted_proxies(),
        a_chain_of_proxies(),
        the_standard_field(),
        a_field_of_a_single_address(),
        networks_of_ipv6(),
        another_prefix(),
        a_tuple(),
        a_function(),
        keys_of_a_cookie(),
        paths_and_methods(),
    ]
}

/// Expects the first request of a client, which may send one per minute.
pub(super) fn first() -> Answer {
    allowed().draft(r#""api";q=1;w=60"#, r#""api";r=0;t=60"#)
}

/// Expects a further request of that client.
pub(super) fn again() -> Answer {
    rejected(&["api"]).draft(r#""api";q=1;w=60"#, r#""api";r=0;t=60"#).retry_after(60)
}

/// Creates a case in which every client may send one request per minute.
pub(super) fn case(title: &'static str, options: Options) -> Case {
    Case::new(title, options).rule(api(1))
}

pub(super) fn key(value: impl AsRef<[u8]>) -> Request<Bytes> {
    with(get(), "x-api-key", value)
}

fn by_key() -> Options {
    modern().key(Header::new("x-api-key"))
}

fn keys_of_a_header() -> Case {
    case("the first value of a field is the key, regardless of the address", by_key())
        .ask(key("alice"), first())
        .ask(with(get_from("198.51.100.7"), "x-api-key", "alice"), again())
        .ask(with(key("alice"), "x-api-key", "mallory"), again())
        .ask(with(key("bob"), "x-api-key", "alice"), first())
        .ask(key("Alice"), first())
}

fn keys_that_are_not_utf_8() -> Case {
    case("values that are not UTF-8 are keys", by_key())
        .ask(key([0xff, 0xfe]), first())
        .ask(key([0xff, 0xfe]), again())
        .ask(key([0xff, 0xfd]), first())
        .ask(key("é"), first())
        .ask(key([0xe9]), first())
        .ask(key("\u{fffd}\u{fffd}"), first())
}

fn keys_of_64_kib() -> Case {
    let long = "k".repeat(64 * 1024 - 1);
    case("keys of 64 KiB that differ in their last byte are different keys", by_key())
        .ask(key(format!("{long}1")), first())
        .ask(key(format!("{long}1")), again())
        .ask(key(format!("{long}2")), first())
        .ask(key(&long), first())
}

fn a_key_that_looks_like_an_address() -> Case {
    case("a key does not match an address of the allow list", by_key())
        .change(|limiter| limiter.allow_list().add("10.0.0.0/8").unwrap())
        .ask(key("10.0.0.1"), first())
        .ask(key("10.0.0.1"), again())
}

fn a_spoofed_field() -> Case {
    let forged = |address: &str| {
        let request = with(get(), "x-forwarded-for", address);
        let request = with(request, "forwarded", format!("for={address}"));
        with(request, "x-real-ip", address)
    };
    case("the address that a client claims is ignored", modern())
        .ask(forged("203.0.113.1"), first())
        .ask(forged("203.0.113.2"), again())
        .ask(get(), again())
        .ask(get_from("203.0.113.1"), first())
}

/// Builds a request from a proxy that sets a field.
pub(super) fn via(proxy: &str, name: &'static str, value: &str) -> Request<Bytes> {
    with(get_from(proxy), name, value)
}

fn trusted_proxies() -> Case {
    let key = ClientIp::new().trusted_proxies(["10.0.0.0/8", "2001:db8:ffff::1"]);
    let field = "x-forwarded-for";
    case("behind trusted proxies the client is the address that they name", modern().key(key))
        .ask(via("10.0.0.1", field, "192.0.2.1"), first())
        .ask(via("10.0.0.2", field, "192.0.2.1:1234"), again())
        .ask(via("2001:db8:ffff::1", field, "192.0.2.1"), again())
        .ask(via("10.0.0.1", field, "192.0.2.2"), first())
        .ask(via("192.0.2.3", field, "192.0.2.4"), first())
        .ask(via("192.0.2.3", field, "192.0.2.5"), again())
        .ask(get_from("10.0.0.1"), first())
        .ask(via("10.0.0.1", field, "unknown"), again())
        .ask(via("10.0.0.1", "forwarded", "for=192.0.2.9"), again())
}

fn a_chain_of_proxies() -> Case {
    let key = ClientIp::new().trusted_proxies(["10.0.0.0/8"]);
    let field = "x-forwarded-for";
    case("the field is read from the right, and trusted proxies are skipped", modern().key(key))
        .ask(via("10.0.0.1", field, "203.0.113.66, 192.0.2.1, 10.0.0.2"), first())
        .ask(via("10.0.0.1", field, "203.0.113.67, 192.0.2.1"), again())
        .ask(with(via("10.0.0.1", field, "203.0.113.68"), field, "192.0.2.1,10.0.0.3"), again())
        .ask(via("10.0.0.1", field, "192.0.2.1, 203.0.113.66"), first())
}

fn the_standard_field() -> Case {
    let key = ClientIp::new().trusted_proxies(["10.0.0.1"]).header(ForwardedHeader::Forwarded);
    let field = "forwarded";
    case("only the field of RFC 7239 is read if it is selected", modern().key(key))
        .ask(via("10.0.0.1", field, "for=192.0.2.1;proto=https"), first())
        .ask(via("10.0.0.1", field, r#"for=1.2.3.4, For="192.0.2.1:80""#), again())
        .ask(via("10.0.0.1", field, r#"for="[2001:db8::1]:4711""#), first())
        .ask(via("10.0.0.1", "x-forwarded-for", "192.0.2.7"), first())
        .ask(via("10.0.0.1", "x-forwarded-for", "192.0.2.8"), again())
}

fn a_field_of_a_single_address() -> Case {
    let key = ClientIp::new().trusted_proxies(["10.0.0.1"]).header(ForwardedHeader::XRealIp);
    let field = "x-real-ip";
    let twice = with(via("10.0.0.1", field, "192.0.2.1"), field, "192.0.2.7");
    case("a field of a single address is read only from a trusted proxy", modern().key(key))
        .ask(via("10.0.0.1", field, "192.0.2.1"), first())
        .ask(via("10.0.0.1", field, "::ffff:192.0.2.1"), again())
        .ask(via("10.0.0.1", field, "2001:db8::1"), first())
        .ask(via("192.0.2.9", field, "192.0.2.2"), first())
        .ask(via("192.0.2.9", field, "192.0.2.3"), again())
        .ask(get_from("10.0.0.1"), first())
        .ask(twice, again())
        .ask(via("10.0.0.1", field, "192.0.2.1, 192.0.2.7"), again())
        .ask(via("10.0.0.1", "x-forwarded-for", "192.0.2.8"), again())
}

fn networks_of_ipv6() -> Case {
    case("the key is the /64 of an IPv6 address, or the IPv4 address in any form", modern())
        .ask(get_from("2001:db8:1:2::1"), first())
        .ask(get_from("2001:db8:1:2:ffff:ffff:ffff:ffff"), again())
        .ask(get_from("2001:db8:1:3::1"), first())
        .ask(get_from("192.0.2.1"), first())
        .ask(get_from("::ffff:192.0.2.1"), again())
        .ask(get_from("::ffff:192.0.2.2"), first())
}

fn another_prefix() -> Case {
    case("the IPv6 prefix can be changed", modern().key(ClientIp::new().ipv6_prefix(48)))
        .ask(get_from("2001:db8:1:2::1"), first())
        .ask(get_from("2001:db8:1:3::1"), again())
        .ask(get_from("2001:db8:2:3::1"), first())
}

fn a_tuple() -> Case {
    let options =
        modern().key((Header::new("x-tenant"), Header::new("x-api-key"), ClientIp::new()));
    let of = |tenant, key, peer| with(with(get_from(peer), "x-tenant", tenant), "x-api-key", key);
    let missing = problem(
        400,
        "Bad Request",
        r#"the request has no header field \"x-tenant\", or it is empty"#,
    );
    case("the parts of a tuple cannot be confused", options)
        .ask(of("a", "b|c", "192.0.2.1"), first())
        .ask(of("a|b", "c", "192.0.2.1"), first())
        .ask(of("a%7Cb", "c", "192.0.2.1"), first())
        .ask(of("a", "b|c", "192.0.2.1"), again())
        .ask(of("a", "b|c", "192.0.2.2"), first())
        .ask(key("b"), missing)
}

fn a_function() -> Case {
    let by_address = |head: &RequestHead<'_>| head.peer().map(network_of_16_bits);
    case("the key can be a function of the request", modern().key(by_address))
        .ask(get_from("192.0.2.1"), first())
        .ask(get_from("192.0.99.9"), again())
        .ask(get_from("198.51.100.1"), first())
}

fn network_of_16_bits(address: IpAddr) -> String {
    address.to_string().split('.').take(2).collect::<Vec<_>>().join(".")
}

fn keys_of_a_cookie() -> Case {
    let cookie = |line: &'static str| with(get(), "cookie", line);
    let missing =
        problem(400, "Bad Request", r#"the request has no cookie \"session\", or it is empty"#);
    let several = r#"the request has several cookies \"session\" with different values"#;
    let several = problem(400, "Bad Request", several);
    case("a cookie is the key", modern().key(Cookie::new("session")))
        .ask(cookie("theme=dark; session=a"), first())
        .ask(cookie("session=a; theme=light"), again())
        .ask(with(cookie("theme=dark"), "cookie", "session=a"), again())
        .ask(cookie("session=b"), first())
        .ask(with(get(), "cookie", b"session=\xff"), first())
        .ask(with(get(), "cookie", b"session=\xff"), again())
        .ask(cookie("Session=b"), missing)
        .ask(cookie("session=a; session=b"), several)
}

fn paths_and_methods() -> Case {
    let options = modern().key((RequestMethod, RequestPath, ClientIp::new()));
    let path = |method: Method, path: &'static str| {
        let mut request = get_path(path);
        *request.method_mut() = method;
        request
    };
    case("a key can contain the method and the path, without the query", options)
        .ask(path(Method::GET, "/a?x=1"), first())
        .ask(path(Method::GET, "/a?x=2"), again())
        .ask(path(Method::POST, "/a"), first())
        .ask(path(Method::GET, "/b"), first())
        .ask(path(Method::GET, "/a/"), first())
}
