//! Attempts of a client to appear as another one.

use super::{
    CLIENT, Forwarded, PEER, TrustedProxies, XForwardedFor, assert_both, assert_client,
    client_address, ip, map, proxies,
};

#[test]
fn an_untrusted_peer_cannot_name_another_client() {
    let headers = map("x-forwarded-for", &[b"203.0.113.66"]);
    for proxies in [proxies(), TrustedProxies::default()] {
        assert_eq!(client_address(ip(CLIENT), &headers, &proxies, XForwardedFor), ip(CLIENT));
    }
}

#[test]
fn an_untrusted_peer_cannot_act_as_a_proxy() {
    let headers = map("x-forwarded-for", &[b"203.0.113.66, 10.0.0.2"]);
    assert_eq!(client_address(ip(CLIENT), &headers, &proxies(), XForwardedFor), ip(CLIENT));
}

#[test]
fn the_leftmost_entry_comes_from_the_client_and_is_not_trusted() {
    assert_both(&["203.0.113.66, 192.0.2.1"], CLIENT);
}

#[test]
fn a_spoofed_prefix_with_a_trusted_proxy_is_not_trusted() {
    assert_both(&["203.0.113.66, 10.0.0.9, 192.0.2.1, 10.0.0.2"], CLIENT);
    assert_both(&["10.0.0.9, 10.0.0.8, 192.0.2.1"], CLIENT);
}

#[test]
fn a_first_line_from_the_client_is_not_trusted() {
    assert_both(&["203.0.113.66, 10.0.0.9", "10.0.0.8", "192.0.2.1"], CLIENT);
}

#[test]
fn an_entry_that_is_not_an_address_ends_the_search_at_the_proxy_that_wrote_it() {
    for entry in
        ["unknown", "_hidden", "example.com", "192.0.2.256", "192.0.2.1:99999", "fe80::1%eth0", "x"]
    {
        assert_both(&[&format!("203.0.113.66, {entry}, 10.0.0.3, 10.0.0.2")], "10.0.0.3");
        assert_both(&[&format!("203.0.113.66, {entry}")], PEER);
        assert_both(&["203.0.113.66", entry], PEER);
    }
}

#[test]
fn an_empty_entry_is_not_skipped() {
    for line in ["203.0.113.66,", "203.0.113.66, ", "203.0.113.66,,", ",", "", " "] {
        assert_both(&[line], PEER);
    }
    assert_both(&["203.0.113.66, , 10.0.0.2"], "10.0.0.2");
    assert_both(&["203.0.113.66", "", "10.0.0.2"], "10.0.0.2");
}

#[test]
fn empty_entries_of_the_client_do_not_hide_it() {
    assert_both(&[",, ,192.0.2.1, 10.0.0.2"], CLIENT);
    assert_both(&["", ",", "192.0.2.1"], CLIENT);
}

#[test]
fn a_field_that_the_proxies_do_not_write_is_no_fallback() {
    let spoofed = map("forwarded", &[b"for=203.0.113.66"]);
    assert_eq!(client_address(ip(PEER), &spoofed, &proxies(), XForwardedFor), ip(PEER));
    let spoofed = map("x-forwarded-for", &[b"203.0.113.66"]);
    assert_eq!(client_address(ip(PEER), &spoofed, &proxies(), Forwarded), ip(PEER));
}

#[test]
fn quoted_commas_and_semicolons_add_no_hop() {
    let line = "for=192.0.2.1;host=\"x, for=203.0.113.66\"";
    assert_client(Forwarded, &[line], CLIENT);
    let line = "for=192.0.2.1, for=10.0.0.2;host=\"x;for=203.0.113.66\"";
    assert_client(Forwarded, &[line], CLIENT);
    let line = "for=192.0.2.1, for=10.0.0.2;host=\"\\\", for=203.0.113.66;x=\\\"\"";
    assert_client(Forwarded, &[line], CLIENT);
}

#[test]
fn an_unclosed_quote_of_the_client_does_not_affect_what_proxies_append() {
    for spoof in
        ["\"", "for=\"", "for=\"203.0.113.66", "for=\"203.0.113.66\\", "for=\"\\\\\\\"", "\"\"\""]
    {
        for appended in ["for=192.0.2.1, for=10.0.0.2", "for=\"192.0.2.1\", for=\"10.0.0.2\""] {
            assert_client(Forwarded, &[&format!("{spoof}, {appended}")], CLIENT);
            assert_client(Forwarded, &[spoof, appended], CLIENT);
        }
    }
}

#[test]
fn bytes_that_are_not_text_are_no_address_and_hide_none() {
    for (header, name, garbage, proxied) in [
        (XForwardedFor, "x-forwarded-for", &b"203.0.113.66, \xff"[..], &b"\xff\xfe, 192.0.2.1"[..]),
        (Forwarded, "forwarded", b"for=203.0.113.66, for=\"\xff\"", b"\xff\xfe, for=192.0.2.1"),
    ] {
        let client = |line| client_address(ip(PEER), &map(name, &[line]), &proxies(), header);
        assert_eq!(client(garbage), ip(PEER));
        assert_eq!(client(proxied), ip(CLIENT));
    }
}

#[test]
fn the_right_one_of_a_thousand_entries_is_found() {
    let line = "203.0.113.66, ".repeat(999) + CLIENT;
    assert_both(&[&line], CLIENT);
}

#[test]
fn the_search_ends_after_128_hops_at_a_trusted_one() {
    let chain = |trusted: usize| format!("192.0.2.1, 10.0.0.3{}", ", 10.0.0.2".repeat(trusted - 1));
    assert_both(&[&chain(127)], CLIENT);
    assert_both(&[&chain(128)], "10.0.0.3");
    assert_both(&[&chain(129)], "10.0.0.2");
    assert_both(&[&chain(5_000)], "10.0.0.2");
    let lines = vec!["10.0.0.2"; 5_000];
    assert_both(&lines, "10.0.0.2");
}

#[test]
fn a_field_of_64_kib_without_an_address_gives_the_peer() {
    for byte in ["\"", "\\", ",", ";", " ", "=", "1", "for=\"", "\\\"", "for=;"] {
        let line = byte.repeat(64 * 1024 / byte.len());
        assert_client(XForwardedFor, &[&line], PEER);
        assert_client(Forwarded, &[&line], PEER);
    }
}
