use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{TrustedProxies, canonical, parse_node};
use super::{ForwardedHeader, client_address};

const FIELDS: [(ForwardedHeader, &str); 2] = [
    (ForwardedHeader::XForwardedFor, "x-forwarded-for"),
    (ForwardedHeader::Forwarded, "forwarded"),
];

fn proxies() -> TrustedProxies {
    TrustedProxies::new(["10.0.0.0/8", "fd00::/8"]).unwrap()
}

fn map(name: &'static str, lines: &[Vec<u8>]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(name, HeaderValue::from_bytes(line).unwrap());
    }
    headers
}

/// Generates any bytes that a server accepts in a field, and some that are more likely to cause errors.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(prop_oneof![Just(b'\t'), 32..=126u8, 128..=255u8], 0..60),
        "[\\\\\",;= for192.0]{0,40}".prop_map(String::into_bytes),
        "((for=)?\"?(10\\.0\\.0\\.[1-9]|192\\.0\\.2\\.[1-9]|unknown)\"?[,; ]{1,2}){0,8}"
            .prop_map(String::into_bytes),
    ]
}

fn trusted() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[a, b, c]| IpAddr::from([10, a, b, c])),
        any::<u64>().prop_map(|low| Ipv6Addr::from_bits(0xfd << 120 | u128::from(low)).into()),
    ]
}

fn untrusted() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<[u8; 3]>().prop_map(|[a, b, c]| IpAddr::from([192, a, b, c])),
        any::<u64>()
            .prop_map(|low| Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(low)).into()),
    ]
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![trusted(), untrusted(), any::<Ipv4Addr>().prop_map(|v4| v4.to_ipv6_mapped().into())]
}

/// Writes the hop as a proxy would.
fn entry(field: ForwardedHeader, hop: IpAddr) -> String {
    match (field, hop) {
        (ForwardedHeader::Forwarded, IpAddr::V4(hop)) => format!("for={hop};proto=https"),
        (ForwardedHeader::Forwarded, IpAddr::V6(hop)) => {
            format!("for=\"[{hop}]:4711\";host=\"a\\\"b, c\"")
        }
        _ => hop.to_string(),
    }
}

fn join(field: ForwardedHeader, hops: &[IpAddr]) -> Vec<u8> {
    let entries: Vec<_> = hops.iter().map(|hop| entry(field, *hop)).collect();
    entries.join(", ").into_bytes()
}

/// Computes the client from the complete list, which a server never reads.
fn expected(peer: IpAddr, hops: &[IpAddr], proxies: &TrustedProxies) -> IpAddr {
    let mut chain = hops.to_vec();
    chain.push(peer);
    let untrusted = chain.iter().rev().find(|hop| !proxies.contains(**hop));
    canonical(untrusted.or(chain.first()).copied().unwrap_or(peer))
}

proptest! {
    #[test]
    fn the_last_untrusted_hop_is_the_client(peer in any_address(), hops in vec(any_address(), 0..8)) {
        for (field, name) in FIELDS {
            let headers = map(name, &[join(field, &hops)][..usize::from(!hops.is_empty())]);
            let found = client_address(peer, &headers, &proxies(), field);
            prop_assert_eq!(found, expected(peer, &hops, &proxies()));
        }
    }

    #[test]
    fn without_trusted_proxies_no_field_changes_the_client(
        peer in any_address(),
        lines in vec(hostile(), 0..4),
    ) {
        for (field, name) in FIELDS {
            let found = client_address(peer, &map(name, &lines), &TrustedProxies::default(), field);
            prop_assert_eq!(found, canonical(peer));
        }
    }

    #[test]
    fn the_client_is_the_peer_or_is_in_the_field(
        peer in trusted(),
        lines in vec(hostile(), 0..4),
    ) {
        for (field, name) in FIELDS {
            let found = client_address(peer, &map(name, &lines), &proxies(), field);
            // A value with escapes is compared without its backslashes.
            let plain = lines.iter().map(|line| {
                line.iter().copied().filter(|byte| *byte != b'\\').collect()
            });
            let named = lines.iter().cloned().chain(plain).any(|line: Vec<u8>| {
                let mut parts = line.split(|byte| b",;=\" ".contains(byte));
                parts.any(|part| parse_node(part) == Some(found))
            });
            prop_assert!(found == peer || named, "{} is not in {:?}", found, lines);
        }
    }

    #[test]
    fn no_field_that_a_client_sends_changes_its_address(
        client in untrusted(),
        chain in vec(trusted(), 1..5),
        spoof in vec(hostile(), 1..4),
    ) {
        let (peer, inner) = chain.split_last().unwrap();
        let hops = [&[client], inner].concat();
        for (field, name) in FIELDS {
            let appended = join(field, &hops);
            let (last, before) = spoof.split_last().unwrap();
            let same_line = [before, &[[&last[..], b", ", &appended].concat()]].concat();
            let own_line = [&spoof[..], &[appended]].concat();
            for lines in [same_line, own_line] {
                let found = client_address(*peer, &map(name, &lines), &proxies(), field);
                prop_assert_eq!(found, client, "{:?}", lines);
            }
        }
    }

    #[test]
    fn behind_a_hop_that_is_not_an_address_the_field_changes_nothing(
        chain in vec(trusted(), 1..5),
        unknown in "unknown|_[a-z]{1,8}|[g-z]{1,8}|",
        spoof in hostile(),
    ) {
        let (peer, inner) = chain.split_last().unwrap();
        for (field, name) in FIELDS {
            let mut line = [&spoof[..], b",", unknown.as_bytes()].concat();
            if !inner.is_empty() {
                line = [&line[..], b",", &join(field, inner)].concat();
            }
            let found = client_address(*peer, &map(name, &[line]), &proxies(), field);
            prop_assert_eq!(found, chain[0]);
        }
    }
}
