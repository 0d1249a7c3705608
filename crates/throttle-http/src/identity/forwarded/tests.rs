use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::{elements, hops};

fn read(lines: &[&str]) -> Vec<Option<String>> {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(FORWARDED, HeaderValue::from_str(line).unwrap());
    }
    hops(&headers).map(|hop| hop.map(|address| address.to_string())).collect()
}

fn one(element: &str) -> Option<String> {
    let hops = read(&[element]);
    assert_eq!(hops.len(), 1, "{element:?} is one element");
    hops.into_iter().next().flatten()
}

#[test]
fn every_form_of_a_hop_is_parsed() {
    for (element, expected) in [
        ("for=192.0.2.1", "192.0.2.1"),
        ("For=192.0.2.1", "192.0.2.1"),
        ("FOR=\"192.0.2.1\"", "192.0.2.1"),
        ("for=\"192.0.2.1:4711\"", "192.0.2.1"),
        ("for=\"[2001:db8::1]\"", "2001:db8::1"),
        ("for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
        ("for=\"192.0.2.1:_p\"", "192.0.2.1"),
        ("for=\"[2001:db8::1]:_p7\"", "2001:db8::1"),
        ("for=\"[::ffff:192.0.2.1]\"", "192.0.2.1"),
        ("for=\"\\1\\9\\2.0.2.1\"", "192.0.2.1"),
        ("for=192.0.2.1;proto=http;by=203.0.113.43", "192.0.2.1"),
        ("proto=http;by=_gateway;for=192.0.2.1", "192.0.2.1"),
        ("for=192.0.2.1; proto=http ;\tby=203.0.113.43", "192.0.2.1"),
        ("\t for=192.0.2.1 \t", "192.0.2.1"),
        (";;for=192.0.2.1; ;", "192.0.2.1"),
        ("for=192.0.2.1:4711", "192.0.2.1"),
        ("for=[2001:db8::1]:4711", "2001:db8::1"),
        ("for=192.0.2.1;host=example.com:8443", "192.0.2.1"),
        ("for=192.0.2.1;host=\"\"", "192.0.2.1"),
        ("host=\"a, b; for=9.9.9.9\";for=192.0.2.1", "192.0.2.1"),
        ("for=192.0.2.1;host=\"\\\", for=9.9.9.9, \\\\\"", "192.0.2.1"),
        ("for=192.0.2.1;forx=9.9.9.9;xfor=9.9.9.9", "192.0.2.1"),
    ] {
        assert_eq!(one(element).as_deref(), Some(expected), "{element:?}");
    }
}

#[test]
fn a_hop_with_a_syntax_error_is_not_an_address() {
    for element in [
        "",
        " ",
        ";",
        "for",
        "for=",
        "for=;proto=http",
        "=192.0.2.1",
        "for =192.0.2.1",
        "for= 192.0.2.1",
        "192.0.2.1",
        "for=unknown",
        "for=_hidden",
        "for=\"_hidden:80\"",
        "for=example.com",
        "for=\"\"",
        "proto=http",
        "by=192.0.2.1",
        "for=192.0.2.1;for=192.0.2.1",
        "for=192.0.2.1;For=192.0.2.2",
        "for=192.0.2.1 proto=http",
        "for=192.0.2.1;proto",
        "for=192.0.2.1;proto=",
        "for=192.0.2.1;=http",
        "for=\"192.0.2.1",
        "for=192.0.2.1\"",
        "for=\"192.0.2.1\"x",
        "for=\"192.0.2.1\\\"",
        "for=\"192.0.2.1\"\"",
        "for='192.0.2.1'",
        "for=192.0.2.1\\",
        "for=\\192.0.2.1",
        "for=192.0.2.1;host=\"",
        "for=192.0.2.1;host=\"a\\\"",
        "for=192.0.2.1/32",
        "for=192.0.2.1;h@st=x",
        "for=\"[fe80::1%eth0]\"",
        "for=\"192.0.2.1, 192.0.2.2\"",
        "for=\"192.0.2.1;for=192.0.2.2\"",
        "for=\"\\",
    ] {
        assert_eq!(one(element), None, "{element:?}");
    }
}

#[test]
fn a_value_full_of_escapes_is_parsed_up_to_the_longest_node() {
    let escaped = |text: &str| text.chars().map(|c| format!("\\{c}")).collect::<String>();
    let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535";
    let expected = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert_eq!(one(&format!("for=\"{}\"", escaped(longest))).as_deref(), Some(expected));
    assert_eq!(one(&format!("for=\"{}\"", escaped(&"1".repeat(60_000)))), None);
}

#[test]
fn hops_are_read_from_the_right_of_the_last_line() {
    let lines = [
        "for=192.0.2.1, for=192.0.2.2;proto=http",
        "for=\"192.0.2.3\",for=unknown",
        "for=192.0.2.4",
    ];
    let expected =
        [Some("192.0.2.4"), None, Some("192.0.2.3"), Some("192.0.2.2"), Some("192.0.2.1")];
    assert_eq!(read(&lines), expected.map(|hop| hop.map(str::to_owned)));
}

#[test]
fn an_unclosed_quote_affects_only_elements_to_its_left() {
    let expected = [Some("192.0.2.2".to_owned()), Some("192.0.2.1".to_owned()), None];
    assert_eq!(read(&["for=\"9.9.9.9, for=192.0.2.1, for=\"192.0.2.2\""]), expected);
}

/// Generates an element as a proxy writes it, with any text in its quoted host.
fn element() -> impl Strategy<Value = (IpAddr, String)> {
    let host = prop_oneof!["[\\\\\", ;=a]{0,12}", "[ -~]{0,12}"];
    (any::<std::net::Ipv4Addr>(), host, any::<bool>()).prop_map(|(address, host, first)| {
        let host = host.replace('\\', "\\\\").replace('"', "\\\"");
        let text = if first {
            format!("host=\"{host}\";for={address}")
        } else {
            format!("for={address};host=\"{host}\"")
        };
        (address.into(), text)
    })
}

proptest! {
    #[test]
    fn quoted_text_never_splits_or_joins_elements(
        list in prop::collection::vec(element(), 1..6),
        cut in ",|, | ,\t",
    ) {
        let (addresses, texts): (Vec<_>, Vec<_>) = list.into_iter().unzip();
        let mut headers = HeaderMap::new();
        headers.insert(FORWARDED, HeaderValue::from_str(&texts.join(&cut)).unwrap());
        let found: Vec<_> = hops(&headers).collect();
        let expected: Vec<_> = addresses.into_iter().rev().map(Some).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn elements_contain_the_whole_line_and_nothing_else(line in "[\\\\\",;=a]{0,40}") {
        let mut parts: Vec<_> = elements(line.as_bytes()).collect();
        parts.reverse();
        prop_assert_eq!(parts.join(&b','), line.as_bytes());
    }
}
