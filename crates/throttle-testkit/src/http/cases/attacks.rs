//! Attempts of a client to be counted as another client.
//!
//! All responses after the first are rejections: each attempt is counted for the same key.

use bytes::Bytes;
use http::Request;
use throttle_http::{
    Options,
    identity::{ClientIp, Cookie, ForwardedHeader, Header, OnMissing},
};

use crate::http::{
    answer::on_deny_list,
    case::{Case, get, get_from, get_path, with},
    cases::{
        identity::{again, case, first, via},
        setup::modern,
    },
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        every_address_field(),
        every_field_except_the_configured_one(),
        a_client_that_poses_as_a_proxy(),
        entries_before_those_of_proxies(),
        entries_without_an_address(),
        one_address_in_many_spellings(),
        forged_standard_fields(),
        unclosed_quotes(),
        a_whole_network(),
        a_network_behind_proxies(),
        mapped_addresses(),
        the_allow_list(),
        the_deny_list(),
        the_fallback_key_of_another_client(),
        fields_with_similar_names(),
        one_session_in_many_spellings(),
        another_cookie_before_or_after(),
    ]
}

/// The fields in which proxies send the address of a client.
const FIELDS: [&str; 24] = [
    "x-forwarded-for",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "fastly-client-ip",
    "fly-client-ip",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-cluster-client-ip",
    "x-envoy-external-address",
    "x-forwarded",
    "forwarded-for",
    "x-original-forwarded-for",
    "x-originating-ip",
    "x-remote-addr",
    "x-remote-ip",
    "x-proxyuser-ip",
    "via",
];

const CLIENT: &str = "192.0.2.1";
const PROXY: &str = "10.0.0.1";
const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// Adds requests that must all be rejected.
fn all_rejected(case: Case, requests: impl IntoIterator<Item = Request<Bytes>>) -> Case {
    requests.into_iter().fold(case, |case, request| case.ask(request, again()))
}

fn behind_proxies() -> Options {
    modern().key(ClientIp::new().trusted_proxies(["10.0.0.0/8", "fd00::/8"]))
}

fn by_forwarded() -> Options {
    let client = ClientIp::new().trusted_proxies(["10.0.0.0/8"]);
    modern().key(client.header(ForwardedHeader::Forwarded))
}

fn every_address_field() -> Case {
    let forged = FIELDS.iter().enumerate().flat_map(|(i, field)| {
        let address = format!("198.51.100.{i}");
        [address.clone(), format!("for={address}"), format!("127.0.0.1, {address}")]
            .map(|value| with(get(), field, value))
    });
    let title = "without a trusted proxy no field changes the client";
    all_rejected(case(title, modern()).ask(get(), first()), forged)
        .ask(get_from("198.51.100.1"), first())
}

fn every_field_except_the_configured_one() -> Case {
    let others = FIELDS.iter().enumerate().filter(|(_, field)| **field != X_FORWARDED_FOR);
    let forged = others.flat_map(|(i, field)| {
        let address = format!("198.51.100.{i}");
        [address.clone(), format!("for={address}")]
            .map(|value| with(via(PROXY, X_FORWARDED_FOR, CLIENT), field, value))
    });
    let begun = case("behind proxies only the configured field is read", behind_proxies())
        .ask(via(PROXY, X_FORWARDED_FOR, CLIENT), first());
    all_rejected(begun, forged)
}

fn a_client_that_poses_as_a_proxy() -> Case {
    let forged = [
        "198.51.100.1",
        "198.51.100.2, 10.0.0.2",
        "10.0.0.3",
        "198.51.100.3, 10.0.0.2, 10.0.0.1",
        "127.0.0.1",
        "::1",
    ];
    let begun = case("a client cannot pose as a proxy", behind_proxies()).ask(get(), first());
    all_rejected(begun, forged.map(|value| via(CLIENT, X_FORWARDED_FOR, value)))
}

fn entries_before_those_of_proxies() -> Case {
    let long = "198.51.100.9, ".repeat(500) + CLIENT;
    let forged = [
        "198.51.100.1, 192.0.2.1",
        "198.51.100.2,192.0.2.1, 10.0.0.2",
        "10.0.0.9, 192.0.2.1",
        "10.0.0.9, 10.0.0.8, 192.0.2.1, 10.0.0.2, 10.0.0.3",
        ", ,, 192.0.2.1",
        "unknown, 192.0.2.1",
        "\"198.51.100.3, 192.0.2.1",
        "for=198.51.100.4, 192.0.2.1",
        "\t198.51.100.5\t,\t192.0.2.1\t",
        &long,
    ];
    let begun = case(
        "entries that a client sends before those of the proxies are ignored",
        behind_proxies(),
    )
    .ask(via(PROXY, X_FORWARDED_FOR, CLIENT), first());
    let begun = all_rejected(begun, forged.map(|value| via(PROXY, X_FORWARDED_FOR, value)));
    let of_two_lines = |line| with(via(PROXY, X_FORWARDED_FOR, line), X_FORWARDED_FOR, CLIENT);
    all_rejected(begun, ["198.51.100.6", "198.51.100.7, 10.0.0.2", "", "\""].map(of_two_lines))
        .ask(with(via(PROXY, X_FORWARDED_FOR, "\u{ff}"), X_FORWARDED_FOR, CLIENT), again())
}

fn entries_without_an_address() -> Case {
    let invalid = [
        "unknown",
        "_hidden",
        "example.com",
        "198.51.100.256",
        "0306.51.100.1",
        "3325256705",
        "198.51.100.1:99999",
        "198.51.100.1:+80",
        "198.51.100.1 198.51.100.2",
        "fe80::1%eth0",
        "[198.51.100.1]",
        "[2001:db8::1",
        "2001:db8::1]:80",
        "198.51.100.1,",
        "",
    ];
    let title = "clients that their proxy does not name share the limit of that proxy";
    let begun = case(title, behind_proxies()).ask(get_from(PROXY), first());
    all_rejected(begun, invalid.map(|value| via(PROXY, X_FORWARDED_FOR, value)))
}

fn one_address_in_many_spellings() -> Case {
    let spellings = [
        "2001:db8:1:2::1",
        "2001:0db8:0001:0002:0000:0000:0000:0001",
        "2001:DB8:1:2:0:0:0:1",
        "[2001:db8:1:2::1]",
        "[2001:db8:1:2::1]:1",
        "[2001:db8:1:2::1]:65535",
        "  2001:db8:1:2::1  ",
        "2001:db8:1:2::192.0.2.1",
    ];
    let begun = case("all spellings of an address are one client", behind_proxies())
        .ask(get_from("2001:db8:1:2::1"), first());
    let begun = all_rejected(begun, spellings.map(|value| via(PROXY, X_FORWARDED_FOR, value)));
    let spellings = ["192.0.2.1:1", "192.0.2.1:2", "::ffff:192.0.2.1", "[::ffff:c000:201]:80"];
    let begun = begun.ask(get(), first());
    all_rejected(begun, spellings.map(|value| via(PROXY, X_FORWARDED_FOR, value)))
}

fn forged_standard_fields() -> Case {
    let forged = [
        "for=198.51.100.1, for=192.0.2.1",
        "for=198.51.100.2;by=10.0.0.1, FOR=192.0.2.1;proto=https",
        "for=\"192.0.2.1:80\"",
        "for=192.0.2.1;host=\"x, for=198.51.100.3\"",
        "for=192.0.2.1, for=10.0.0.2;host=\"x;for=198.51.100.4\"",
        "for=192.0.2.1;host=\"\\\", for=198.51.100.5;x=\\\"\"",
        "198.51.100.6, for=192.0.2.1",
    ];
    let begun =
        case("entries that a client sends in the field of RFC 7239 are ignored", by_forwarded())
            .ask(via(PROXY, "forwarded", "for=192.0.2.1"), first());
    all_rejected(begun, forged.map(|value| via(PROXY, "forwarded", value)))
}

fn unclosed_quotes() -> Case {
    let spoofs =
        ["\"", "for=\"", "for=\"198.51.100.1", "for=\"198.51.100.2\\", "\"\"\"", "for=\"\\\\\\\""];
    let title = "an unclosed quote of a client hides no entry of a proxy";
    let begun = case(title, by_forwarded()).ask(via(PROXY, "forwarded", "for=192.0.2.1"), first());
    let on_one = spoofs.map(|spoof| format!("{spoof}, for=192.0.2.1, for=\"10.0.0.2\""));
    let begun = all_rejected(begun, on_one.map(|value| via(PROXY, "forwarded", &value)));
    let on_two = |spoof| with(via(PROXY, "forwarded", spoof), "forwarded", "for=192.0.2.1");
    all_rejected(begun, spoofs.map(on_two))
}

fn a_whole_network() -> Case {
    let of_the_same = (0..64_u64).map(|i| {
        // Spread over the lower half of the address; the last has every bit set.
        let host = i.wrapping_mul(0x0410_4104_1041_0411) | if i == 63 { u64::MAX } else { 0 };
        let parts = [host >> 48, host >> 32, host >> 16, host].map(|part| part & 0xffff);
        let [a, b, c, d] = parts;
        get_from(&format!("2001:db8:1:2:{a:x}:{b:x}:{c:x}:{d:x}"))
    });
    let title = "all addresses of a /64 are one client";
    all_rejected(case(title, modern()).ask(get_from("2001:db8:1:2::"), first()), of_the_same)
        .ask(get_from("2001:db8:1:3::"), first())
}

fn a_network_behind_proxies() -> Case {
    let of_the_same = ["::2", "::ffff", ":1:2:3:4", ":ffff:ffff:ffff:ffff"].map(|host| {
        let address = format!("2001:db8:1:2{host}");
        via("fd00::1", X_FORWARDED_FOR, &address)
    });
    let begun =
        case("behind proxies, too, all addresses of a /64 are one client", behind_proxies())
            .ask(via(PROXY, X_FORWARDED_FOR, "2001:db8:1:2::1"), first());
    all_rejected(begun, of_the_same).ask(via(PROXY, X_FORWARDED_FOR, "2001:db8:1:3::1"), first())
}

fn mapped_addresses() -> Case {
    let begun = case("a proxy is trusted by its IPv4-mapped IPv6 address, too", behind_proxies())
        .ask(via("::ffff:10.0.0.1", X_FORWARDED_FOR, CLIENT), first());
    all_rejected(begun, [get(), get_from("::ffff:192.0.2.1"), get_from("::ffff:c000:201")])
}

fn the_allow_list() -> Case {
    let forged =
        [X_FORWARDED_FOR, "x-real-ip", "host"].map(|field| with(get(), field, "127.0.0.1"));
    let begun = case("no field makes a client match the allow list", modern())
        .change(|limiter| limiter.allow_list().add("127.0.0.0/8").unwrap())
        .ask(with(get(), "forwarded", "for=127.0.0.1"), first());
    all_rejected(begun, forged)
}

fn the_deny_list() -> Case {
    let forged = ["198.51.100.1", "198.51.100.2, 192.0.2.1", "", "\"", "127.0.0.1"];
    let begun = case("no field makes a client avoid the deny list", modern())
        .change(|limiter| limiter.deny_list().add("192.0.2.0/24").unwrap());
    let forged = forged.map(|value| with(get(), X_FORWARDED_FOR, value));
    forged.into_iter().fold(begun, |case, request| case.ask(request, on_deny_list()))
}

fn the_fallback_key_of_another_client() -> Case {
    let missing = OnMissing::ClientIp(ClientIp::new());
    let options = modern().key(Header::new("x-api-key").missing(missing));
    let values = ["192.0.2.1", "\u{80}client", "%00client", "client|192.0.2.1", "192.0.2.1/32"];
    let begun = case("no value of a key is charged to the address of another client", options);
    let begun = values.iter().fold(begun, |case, value| {
        case.ask(with(get_from("198.51.100.1"), "x-api-key", value), first())
    });
    begun.ask(get(), first()).ask(get(), again())
}

fn fields_with_similar_names() -> Case {
    let of = |name, value: &'static str| with(with(get(), "x-api-key", "mallory"), name, value);
    let forged = [
        of("x_api_key", "1"),
        of("x-api-key2", "2"),
        of("x-api-key-x", "3"),
        of("x-api-key", "4"),
        of("connection", "x-api-key"),
        of("cookie", "x-api-key=5"),
        with(get_path("/?x-api-key=6"), "x-api-key", "mallory"),
        with(get_path("/;x-api-key=7"), "x-api-key", "mallory"),
    ];
    let begun =
        case("a field with a similar name is not the key", modern().key(Header::new("x-api-key")))
            .ask(with(get(), "x-api-key", "mallory"), first());
    all_rejected(begun, forged)
}

fn one_session_in_many_spellings() -> Case {
    let cookie = |line: &'static str| with(get(), "cookie", line);
    let spellings = [
        "sid=s-1; theme=dark",
        "sid=%73-1",
        "sid=s%2d1",
        "sid=s%2D1",
        "%73id=s-1",
        "sid=\"s-1\"",
        "sid=%22s-1%22",
        "sid = s-1",
        "sid=\u{a0}s-1\u{2003}",
        "sid=s-1; sid=%73-1",
    ];
    let begun = case("all spellings of a session are one key", modern().key(Cookie::new("sid")))
        .ask(cookie("sid=s-1"), first());
    all_rejected(begun, spellings.map(cookie))
}

fn another_cookie_before_or_after() -> Case {
    let lines = ["sid=1; sid=s-1", "sid=s-1; sid=2", "s%69d=3; sid=s-1", "sid=\u{80}; sid=s-1"];
    let begun = case(
        "several cookies give a client no new limit, whichever of them the service reads",
        modern().key(Cookie::new("sid").missing(OnMissing::Anonymous)),
    )
    .ask(with(get(), "cookie", "sid=1; sid=s-1"), first());
    all_rejected(begun, lines.map(|line| with(get(), "cookie", line)))
        .ask(with(with(get(), "cookie", "sid=4"), "cookie", "sid=s-1"), again())
        .ask(with(get(), "cookie", "sid=s-1"), first())
}
