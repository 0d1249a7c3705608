use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};

use super::super::TrustedProxies;
use super::ForwardedHeader::{Forwarded, XForwardedFor};
use super::{ForwardedHeader, client_address};

mod attacks;

const PEER: &str = "10.0.0.1";
const CLIENT: &str = "192.0.2.1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn proxies() -> TrustedProxies {
    TrustedProxies::new(["10.0.0.0/8", "fd00::/8"]).unwrap()
}

fn map(name: &'static str, lines: &[&[u8]]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, HeaderValue::from_bytes(line).unwrap());
    }
    headers
}

/// Asserts the client of a request from a trusted peer with these lines.
#[track_caller]
fn assert_client(header: ForwardedHeader, lines: &[&str], expected: &str) {
    let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
    let found = client_address(ip(PEER), &map(header.name(), &lines), &proxies(), header);
    assert_eq!(found, ip(expected));
}

/// Asserts the client for both fields; entries are plain IPv4 addresses or words.
#[track_caller]
fn assert_both(lines: &[&str], expected: &str) {
    assert_client(XForwardedFor, lines, expected);
    let elements = |line: &&str| {
        let elements = line.split(',').map(|entry| match entry.trim() {
            "" => String::new(),
            entry => format!("for={entry}"),
        });
        elements.collect::<Vec<_>>().join(", ")
    };
    let lines: Vec<_> = lines.iter().map(elements).collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    assert_client(Forwarded, &lines, expected);
}

#[test]
fn without_the_field_the_peer_is_the_client() {
    assert_both(&[], PEER);
}

#[test]
fn the_entry_that_a_trusted_peer_appended_is_the_client() {
    assert_both(&[CLIENT], CLIENT);
}

#[test]
fn a_chain_of_trusted_proxies_is_walked_to_its_end() {
    assert_both(&["192.0.2.1, 10.0.0.4, 10.0.0.3, 10.0.0.2"], CLIENT);
}

#[test]
fn when_all_are_trusted_the_leftmost_is_the_client() {
    assert_both(&["10.0.0.4, 10.0.0.3, 10.0.0.2"], "10.0.0.4");
}

#[test]
fn several_lines_are_one_list_in_their_order() {
    assert_both(&["203.0.113.66", "192.0.2.1"], CLIENT);
    assert_both(&["203.0.113.66, 192.0.2.1", "10.0.0.3", "10.0.0.2"], CLIENT);
    assert_both(&["203.0.113.66, 10.0.0.3", "192.0.2.1, 10.0.0.2"], CLIENT);
}

#[test]
fn a_port_does_not_make_another_client() {
    assert_both(&["203.0.113.66, 192.0.2.1:4711, 10.0.0.2:80"], CLIENT);
}

#[test]
fn ipv6_hops_are_read_in_every_form() {
    assert_client(XForwardedFor, &["::1, 2001:db8::1, fd00::2, [fd00::3]:80"], "2001:db8::1");
    let line = "for=\"[::1]\", for=\"[2001:db8::1]:4711\", for=\"[fd00::2]\"";
    assert_client(Forwarded, &[line], "2001:db8::1");
}

#[test]
fn mapped_addresses_are_those_of_the_ipv4_proxies_and_clients() {
    let headers = map("x-forwarded-for", &[b"203.0.113.66, ::ffff:192.0.2.1, ::ffff:10.0.0.2"]);
    let client = |peer| client_address(ip(peer), &headers, &proxies(), XForwardedFor);
    assert_eq!(client("::ffff:10.0.0.1"), ip(CLIENT));
    assert_eq!(client("::ffff:192.0.2.9"), ip("192.0.2.9"));
}

#[test]
fn only_the_chosen_field_is_read() {
    let mut headers = map("x-forwarded-for", &[b"192.0.2.1"]);
    headers.insert("forwarded", HeaderValue::from_static("for=192.0.2.2"));
    headers.insert("x-real-ip", HeaderValue::from_static("192.0.2.3"));
    let client = |header| client_address(ip(PEER), &headers, &proxies(), header);
    assert_eq!(client(XForwardedFor), ip("192.0.2.1"));
    assert_eq!(client(Forwarded), ip("192.0.2.2"));
    assert_eq!(ForwardedHeader::default(), XForwardedFor);
}

#[test]
fn bytes_beyond_ascii_are_allowed_only_in_quotes() {
    let client = |line| client_address(ip(PEER), &map("forwarded", &[line]), &proxies(), Forwarded);
    assert_eq!(client(b"for=192.0.2.1;host=\"\xff\""), ip(CLIENT));
    assert_eq!(client(b"for=192.0.2.1;host=\xff"), ip(PEER));
}

#[test]
fn a_field_of_a_single_address_is_one_line_with_one_address() {
    for (lines, expected) in [
        (&["192.0.2.1"][..], "192.0.2.1"),
        (&[" 192.0.2.1:4711 "], "192.0.2.1"),
        (&["10.0.0.9"], "10.0.0.9"),
        (&["192.0.2.1", "192.0.2.2"], PEER),
        (&["192.0.2.1, 192.0.2.2"], PEER),
        (&["unknown"], PEER),
        (&[""], PEER),
        (&[], PEER),
    ] {
        assert_client(ForwardedHeader::XRealIp, lines, expected);
    }
    let stranger = ip("192.0.2.77");
    let headers = map("x-real-ip", &[CLIENT.as_bytes()]);
    assert_eq!(client_address(stranger, &headers, &proxies(), ForwardedHeader::XRealIp), stranger);
}
