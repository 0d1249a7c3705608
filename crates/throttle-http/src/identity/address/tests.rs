use std::net::IpAddr;

use proptest::prelude::*;

use super::{canonical, parse_node};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn every_form_of_an_address_is_parsed() {
    for (text, expected) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:8080", "192.0.2.1"),
        ("192.0.2.1:0", "192.0.2.1"),
        ("192.0.2.1:65535", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8::A", "2001:db8::a"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:8080", "2001:db8::1"),
        ("::", "::"),
        ("::1", "::1"),
        ("2001:db8::192.0.2.1", "2001:db8::c000:201"),
        (" \t192.0.2.1\t ", "192.0.2.1"),
        (" [2001:db8::1]:8080 ", "2001:db8::1"),
    ] {
        assert_eq!(parse_node(text.as_bytes()), Some(ip(expected)), "{text:?}");
    }
}

#[test]
fn an_ipv4_client_of_a_dual_stack_socket_is_the_same_client() {
    assert_eq!(canonical(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    for text in ["::ffff:192.0.2.1", "[::ffff:192.0.2.1]:8080", "::ffff:c000:201"] {
        assert_eq!(parse_node(text.as_bytes()), Some(ip("192.0.2.1")), "{text:?}");
    }
}

#[test]
fn an_ipv6_address_that_only_ends_like_ipv4_stays_ipv6() {
    assert_eq!(canonical(ip("::192.0.2.1")), ip("::192.0.2.1"));
    assert_eq!(canonical(ip("64:ff9b::192.0.2.1")), ip("64:ff9b::192.0.2.1"));
}

#[test]
fn other_text_is_not_an_address() {
    for text in [
        "",
        " ",
        ":",
        "::1:",
        "[",
        "]",
        "[]",
        "[]:80",
        "unknown",
        "_hidden",
        "_hidden:80",
        "localhost",
        "example.com:80",
        "unix:",
        "-",
        "*",
        "0",
        "3221225985",
        "0x7f.0.0.1",
        "127.1",
        "192.0.2",
        "192.0.2.1.1",
        "192.0.2.256",
        "192.0.2.01",
        "192.0.2.1/32",
        "192.0.2.1 192.0.2.2",
        "192.0.2.1,192.0.2.2",
        "192.0.2.-1",
        "\"192.0.2.1\"",
        "192.0.2.1\0",
        "fe80::1%eth0",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]:80",
        "2001:db8::1::2",
        "2001:db8::g",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "::ffff:192.0.2.1:80",
        "[192.0.2.1]",
        "[192.0.2.1]:80",
        "[2001:db8::1",
        "2001:db8::1]",
        "[[2001:db8::1]]",
        "[2001:db8::1]]",
        "[2001:db8::1]80",
        "[2001:db8::1] :80",
        "[ 2001:db8::1 ]",
        "[2001:db8::1]x:80",
    ] {
        assert_eq!(parse_node(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn a_port_is_one_to_five_digits_up_to_65535_or_hidden() {
    for port in ["0", "80", "65535", "_p", "_secret-7.a_b"] {
        assert_eq!(parse_node(format!("192.0.2.1:{port}").as_bytes()), "192.0.2.1".parse().ok());
        let node = format!("[2001:db8::1]:{port}");
        assert_eq!(parse_node(node.as_bytes()), "2001:db8::1".parse().ok(), "{node}");
    }
    for port in [
        "", "65536", "99999", "000080", "+80", "-1", "8o", "80 ", "80:80", "_", "_a b", "_a:",
        "_\u{e4}", "0x50", "\u{0668}", "1e3",
    ] {
        for node in [format!("192.0.2.1:{port}!"), format!("[2001:db8::1]:{port}!")] {
            assert_eq!(parse_node(node.as_bytes()), None, "{node:?}");
            let node = node.trim_end_matches('!');
            if port != "80 " {
                assert_eq!(parse_node(node.as_bytes()), None, "{node:?}");
            }
        }
    }
}

#[test]
fn bytes_that_are_not_text_are_not_an_address() {
    for bytes in [&b"\xff"[..], b"192.0.2.1\xff", b"\xc3\x28", b"\xa0192.0.2.1", b"[\xff]:80"] {
        assert_eq!(parse_node(bytes), None, "{bytes:?}");
    }
}

#[test]
fn sixty_four_kibibytes_of_garbage_are_not_an_address() {
    for byte in [b'1', b':', b'.', b'[', b' ', b'f', b'\0', b'\xff'] {
        assert_eq!(parse_node(&vec![byte; 64 * 1024]), None, "{byte:#x}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_node(&bytes);
    }

    #[test]
    fn text_like_an_address_is_parsed_to_canonical_form_or_not_at_all(
        text in "[0-9a-f:.\\[\\]% _]{0,60}",
    ) {
        if let Some(address) = parse_node(text.as_bytes()) {
            prop_assert_eq!(address, canonical(address));
        }
    }

    #[test]
    fn every_address_is_parsed_in_every_form(
        address in any::<IpAddr>(),
        port in any::<u16>(),
    ) {
        let bare = address.to_string();
        let with_port = std::net::SocketAddr::new(address, port).to_string();
        prop_assert_eq!(parse_node(bare.as_bytes()), Some(canonical(address)));
        prop_assert_eq!(parse_node(with_port.as_bytes()), Some(canonical(address)));
    }
}
