use std::net::IpAddr;

use super::TrustedProxies;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_network_contains_exactly_the_addresses_with_its_prefix() {
    let proxies =
        TrustedProxies::new(["10.1.0.0/16", "fd00:1::/32", " 192.0.2.7 ", "::1"]).unwrap();
    for trusted in ["10.1.0.0", "10.1.255.255", "fd00:1::", "fd00:1:ffff::", "192.0.2.7", "::1"] {
        assert!(proxies.contains(ip(trusted)), "{trusted}");
    }
    for untrusted in
        ["10.0.255.255", "10.2.0.0", "fd00:2::", "fd00::", "192.0.2.6", "192.0.2.8", "::", "::2"]
    {
        assert!(!proxies.contains(ip(untrusted)), "{untrusted}");
    }
}

#[test]
fn bits_after_the_prefix_are_ignored() {
    let proxies = TrustedProxies::new(["10.1.2.3/8"]).unwrap();
    assert_eq!(proxies, TrustedProxies::new(["10.0.0.0/8"]).unwrap());
    assert!(proxies.contains(ip("10.255.0.1")));
}

#[test]
fn ipv4_in_ipv6_notation_is_ipv4_in_entries_and_lookups() {
    for entry in ["::ffff:10.0.0.1", "::ffff:10.0.0.1/128", "::ffff:10.0.0.0/104", "10.0.0.0/8"] {
        let proxies = TrustedProxies::new([entry]).unwrap();
        assert!(proxies.contains(ip("10.0.0.1")), "{entry}");
        assert!(proxies.contains(ip("::ffff:10.0.0.1")), "{entry}");
        assert!(!proxies.contains(ip("11.0.0.1")), "{entry}");
        assert!(!proxies.contains(ip("::10.0.0.1")), "{entry}");
    }
}

#[test]
fn an_ipv6_network_never_covers_ipv4_clients() {
    let proxies = TrustedProxies::new(["::/0"]).unwrap();
    assert!(proxies.contains(ip("2001:db8::1")));
    assert!(!proxies.contains(ip("192.0.2.1")));
    assert!(!proxies.contains(ip("::ffff:192.0.2.1")));
}

#[test]
fn no_proxy_is_trusted_by_default() {
    let none = TrustedProxies::new([] as [&str; 0]).unwrap();
    assert_eq!(none, TrustedProxies::default());
    assert!(none.is_empty());
    assert!(!none.contains(ip("127.0.0.1")));
    assert!(!none.trusts_all_addresses());
    assert!(!TrustedProxies::new(["::1"]).unwrap().is_empty());
}

#[test]
fn trust_in_all_addresses_is_detected_in_every_notation() {
    for entries in [
        &["10.0.0.1", "0.0.0.0/0"][..],
        &["::/0"],
        &["::ffff:0:0/96"],
        &["203.0.113.9/0"],
        &["0.0.0.0/1", "128.0.0.0/1"],
        &["::/1", "8000::/1"],
    ] {
        assert!(TrustedProxies::new(entries).unwrap().trusts_all_addresses(), "{entries:?}");
    }
    assert!(!TrustedProxies::new(["0.0.0.0/1", "::/1"]).unwrap().trusts_all_addresses());
}

#[test]
fn an_invalid_entry_is_named_with_the_allowed_forms() {
    for entry in [
        "",
        "10.0.0.0/33",
        "::/129",
        "10.0.0.0/",
        "10.0.0/8",
        "10.0.0.0/-1",
        "10.0.0.1:80",
        "[::1]",
        "fe80::1%eth0",
        "proxy.internal",
        "10.0.0.0/8,::1",
        "10.0.0.0/255.0.0.0",
        "*",
    ] {
        let error = TrustedProxies::new(["10.0.0.0/8", entry]).unwrap_err();
        assert_eq!(error.entry(), entry);
        let message = error.to_string();
        assert!(message.contains(&format!("{entry:?}")), "{message}");
        assert!(message.contains("\"10.0.0.0/8\" (prefix 0 to 32)"), "{message}");
    }
}
