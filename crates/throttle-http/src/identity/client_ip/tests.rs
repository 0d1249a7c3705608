use std::net::{IpAddr, SocketAddr};

use http::Request;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key_of(client: &ClientIp, peer: &str, fields: &[(&'static str, &str)]) -> Key<'static> {
    let mut request = Request::new(());
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    client.extract(&RequestHead::new(&request, Some(ip(peer)))).unwrap().into_owned()
}

#[test]
fn the_key_is_the_address_of_the_connection() {
    let client = ClientIp::new();
    let fields = [("x-forwarded-for", "203.0.113.1"), ("forwarded", "for=203.0.113.2")];
    assert_eq!(key_of(&client, "192.0.2.1", &fields), Key::from("192.0.2.1"));
    assert_eq!(key_of(&client, "::ffff:192.0.2.1", &fields), Key::from("192.0.2.1"));
}

#[test]
fn an_ipv6_client_is_its_network_but_the_lists_see_the_address() {
    let key = key_of(&ClientIp::new(), "2001:db8:1:2:3:4:5:6", &[]);
    assert_eq!(key, Key::from("2001:db8:1:2::/64"));
    assert_eq!(key.address(), Some(ip("2001:db8:1:2:3:4:5:6")));
}

#[test]
fn a_prefix_has_1_to_128_bits_and_128_is_the_whole_address() {
    let address = "2001:db8:1:2:3:4:5:6";
    let key = |bits| key_of(&ClientIp::new().ipv6_prefix(bits), address, &[]);
    assert_eq!(key(56), Key::from("2001:db8:1::/56"));
    assert_eq!(key(128), Key::from(address));
    for bits in [0, 129, 200] {
        let error = ClientIp::new().ipv6_prefix(bits).validate().unwrap_err().to_string();
        assert!(error.contains(&format!("ipv6_prefix({bits})")), "{error}");
    }
    assert!([1, 128].iter().all(|bits| ClientIp::new().ipv6_prefix(*bits).validate().is_ok()));
    let ipv4 = key_of(&ClientIp::new().ipv6_prefix(1), "192.0.2.1", &[]);
    assert_eq!(ipv4, Key::from("192.0.2.1"), "the prefix applies to IPv6 only");
}

#[test]
fn key_for_returns_the_key_that_requests_use() {
    let clients = ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8:1:2:3:4:5:6"];
    for client in [ClientIp::new(), ClientIp::new().ipv6_prefix(56)] {
        for address in clients {
            let key = client.key_for(ip(address));
            assert_eq!(key, key_of(&client, address, &[]));
            assert_eq!(
                key.address(),
                Some(ip(address).to_canonical()),
                "the lists see the address"
            );
        }
    }
}

#[test]
fn a_trusted_proxy_is_trusted_in_the_selected_field_only() {
    let fields = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.2")];
    let proxies = ClientIp::new().trusted_proxies(["10.0.0.0/8"]);
    assert_eq!(key_of(&proxies, "10.0.0.1", &fields), Key::from("192.0.2.1"));
    let standard = proxies.clone().header(ForwardedHeader::Forwarded);
    assert_eq!(key_of(&standard, "10.0.0.1", &fields), Key::from("192.0.2.2"));
    assert_eq!(key_of(&proxies, "11.0.0.1", &fields), Key::from("11.0.0.1"));
}

#[test]
fn a_proxy_that_is_not_a_network_is_an_error_and_no_proxy_is_trusted() {
    let client = ClientIp::new().trusted_proxies(["10.0.0.0/8", "10.0.0.1:80"]);
    assert_eq!(client.proxies().unwrap_err().entry(), "10.0.0.1:80");
    assert!(client.proxies().is_err());
    let fields = [("x-forwarded-for", "192.0.2.1")];
    assert_eq!(key_of(&client, "10.0.0.1", &fields), Key::from("10.0.0.1"));
    assert!(ClientIp::default().validate().is_ok());
    assert!(ClientIp::new().proxies().unwrap().is_empty());
}

#[test]
fn without_a_peer_there_is_no_key_and_the_error_names_three_solutions() {
    let request = Request::new(());
    let error = ClientIp::new().extract(&RequestHead::new(&request, None)).unwrap_err();
    assert_eq!(error, NoKey::NoPeer);
    for fix in ["into_make_service_with_connect_info::<SocketAddr>()", "`SocketAddr`", ".key("] {
        assert!(error.to_string().contains(fix), "{error}");
    }
}

#[test]
fn the_peer_comes_from_the_adapter_or_from_the_extensions() {
    let mut request = Request::new(());
    let peer = |request: &Request<()>, known| RequestHead::new(request, known).peer();
    assert_eq!(peer(&request, None), None);
    request.extensions_mut().insert(ip("192.0.2.3"));
    assert_eq!(peer(&request, None), Some(ip("192.0.2.3")));
    request.extensions_mut().insert(SocketAddr::new(ip("192.0.2.2"), 80));
    assert_eq!(peer(&request, None), Some(ip("192.0.2.2")));
    assert_eq!(peer(&request, Some(ip("192.0.2.1"))), Some(ip("192.0.2.1")));
}
