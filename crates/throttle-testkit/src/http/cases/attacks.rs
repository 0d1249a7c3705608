//! What a client may try, so as to be counted as somebody else. Every answer but the first is a refusal:
//! whatever it tried, it was known.

use bytes::Bytes;
use http::Request;
use throttle_http::{
    Options,
    identity::{ClientIp, Cookie, ForwardedHeader, Header, OnMissing},
};

use crate::http::{
    answer::banned,
    case::{Case, get, get_from, get_path, with},
    cases::{
        identity::{again, case, first, via},
        setup::modern,
    },
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        every_field_of_an_address(),
        every_field_but_the_one_that_is_chosen(),
        a_peer_that_poses_as_a_proxy(),
        entries_before_those_of_proxies(),
        entries_that_name_nobody(),
        one_address_in_many_spellings(),
        forged_standard_fields(),
        quotes_that_are_left_open(),
        a_whole_network(),
        a_network_behind_proxies(),
        mapped_addresses(),
        the_allow_list(),
        the_deny_list(),
        another_s_fallback(),
        fields_of_similar_names(),
        one_session_in_many_writings(),
        another_cookie_before_or_behind(),
    ]
}

/// Fields that one proxy or another tells the address of a client in.
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

/// Refuses whatever comes after the first request.
fn all_refused(case: Case, requests: impl IntoIterator<Item = Request<Bytes>>) -> Case {
    requests.into_iter().fold(case, |case, request| case.ask(request, again()))
}

fn behind_proxies() -> Options {
    modern().key(ClientIp::new().trusted_proxies(["10.0.0.0/8", "fd00::/8"]))
}

fn by_forwarded() -> Options {
    let client = ClientIp::new().trusted_proxies(["10.0.0.0/8"]);
    modern().key(client.header(ForwardedHeader::Forwarded))
}

fn every_field_of_an_address() -> Case {
    let forged = FIELDS.iter().enumerate().flat_map(|(i, field)| {
        let address = format!("198.51.100.{i}");
        [address.clone(), format!("for={address}"), format!("127.0.0.1, {address}")]
            .map(|value| with(get(), field, value))
    });
    let title = "no field changes who a client is where no proxy is trusted";
    all_refused(case(title, modern()).ask(get(), first()), forged)
        .ask(get_from("198.51.100.1"), first())
}

fn every_field_but_the_one_that_is_chosen() -> Case {
    let others = FIELDS.iter().enumerate().filter(|(_, field)| **field != X_FORWARDED_FOR);
    let forged = others.flat_map(|(i, field)| {
        let address = format!("198.51.100.{i}");
        [address.clone(), format!("for={address}")]
            .map(|value| with(via(PROXY, X_FORWARDED_FOR, CLIENT), field, value))
    });
    let begun = case("behind proxies no field counts but the one that is chosen", behind_proxies())
        .ask(via(PROXY, X_FORWARDED_FOR, CLIENT), first());
    all_refused(begun, forged)
}

fn a_peer_that_poses_as_a_proxy() -> Case {
    let forged = [
        "198.51.100.1",
        "198.51.100.2, 10.0.0.2",
        "10.0.0.3",
        "198.51.100.3, 10.0.0.2, 10.0.0.1",
        "127.0.0.1",
        "::1",
    ];
    let begun = case("a client cannot pose as a proxy", behind_proxies()).ask(get(), first());
    all_refused(begun, forged.map(|value| via(CLIENT, X_FORWARDED_FOR, value)))
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
    let begun = case("what a client writes before the proxies is not believed", behind_proxies())
        .ask(via(PROXY, X_FORWARDED_FOR, CLIENT), first());
    let begun = all_refused(begun, forged.map(|value| via(PROXY, X_FORWARDED_FOR, value)));
    let of_two_lines = |line| with(via(PROXY, X_FORWARDED_FOR, line), X_FORWARDED_FOR, CLIENT);
    all_refused(begun, ["198.51.100.6", "198.51.100.7, 10.0.0.2", "", "\""].map(of_two_lines))
        .ask(with(via(PROXY, X_FORWARDED_FOR, "\u{ff}"), X_FORWARDED_FOR, CLIENT), again())
}

fn entries_that_name_nobody() -> Case {
    let nobody = [
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
    let title = "clients whose proxy names nobody share the limit of that proxy";
    let begun = case(title, behind_proxies()).ask(get_from(PROXY), first());
    all_refused(begun, nobody.map(|value| via(PROXY, X_FORWARDED_FOR, value)))
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
    let begun = case("an address is one however it is written", behind_proxies())
        .ask(get_from("2001:db8:1:2::1"), first());
    let begun = all_refused(begun, spellings.map(|value| via(PROXY, X_FORWARDED_FOR, value)));
    let spellings = ["192.0.2.1:1", "192.0.2.1:2", "::ffff:192.0.2.1", "[::ffff:c000:201]:80"];
    let begun = begun.ask(get(), first());
    all_refused(begun, spellings.map(|value| via(PROXY, X_FORWARDED_FOR, value)))
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
        case("what a client writes into the field of RFC 7239 is not believed", by_forwarded())
            .ask(via(PROXY, "forwarded", "for=192.0.2.1"), first());
    all_refused(begun, forged.map(|value| via(PROXY, "forwarded", value)))
}

fn quotes_that_are_left_open() -> Case {
    let spoofs =
        ["\"", "for=\"", "for=\"198.51.100.1", "for=\"198.51.100.2\\", "\"\"\"", "for=\"\\\\\\\""];
    let title = "a quote that a client leaves open hides nothing of what proxies append";
    let begun = case(title, by_forwarded()).ask(via(PROXY, "forwarded", "for=192.0.2.1"), first());
    let on_one = spoofs.map(|spoof| format!("{spoof}, for=192.0.2.1, for=\"10.0.0.2\""));
    let begun = all_refused(begun, on_one.map(|value| via(PROXY, "forwarded", &value)));
    let on_two = |spoof| with(via(PROXY, "forwarded", spoof), "forwarded", "for=192.0.2.1");
    all_refused(begun, spoofs.map(on_two))
}

fn a_whole_network() -> Case {
    let of_the_same = (0..64_u64).map(|i| {
        // All over the lower half of the address, the last one with every bit set.
        let host = i.wrapping_mul(0x0410_4104_1041_0411) | if i == 63 { u64::MAX } else { 0 };
        let parts = [host >> 48, host >> 32, host >> 16, host].map(|part| part & 0xffff);
        let [a, b, c, d] = parts;
        get_from(&format!("2001:db8:1:2:{a:x}:{b:x}:{c:x}:{d:x}"))
    });
    let title = "a client with a /64 is one client, by whichever address it comes";
    all_refused(case(title, modern()).ask(get_from("2001:db8:1:2::"), first()), of_the_same)
        .ask(get_from("2001:db8:1:3::"), first())
}

fn a_network_behind_proxies() -> Case {
    let of_the_same = ["::2", "::ffff", ":1:2:3:4", ":ffff:ffff:ffff:ffff"].map(|host| {
        let address = format!("2001:db8:1:2{host}");
        via("fd00::1", X_FORWARDED_FOR, &address)
    });
    let begun = case("a client with a /64 is one behind proxies, too", behind_proxies())
        .ask(via(PROXY, X_FORWARDED_FOR, "2001:db8:1:2::1"), first());
    all_refused(begun, of_the_same).ask(via(PROXY, X_FORWARDED_FOR, "2001:db8:1:3::1"), first())
}

fn mapped_addresses() -> Case {
    let begun = case("a proxy is trusted by its IPv4 address in IPv6, too", behind_proxies())
        .ask(via("::ffff:10.0.0.1", X_FORWARDED_FOR, CLIENT), first());
    all_refused(begun, [get(), get_from("::ffff:192.0.2.1"), get_from("::ffff:c000:201")])
}

fn the_allow_list() -> Case {
    let forged =
        [X_FORWARDED_FOR, "x-real-ip", "host"].map(|field| with(get(), field, "127.0.0.1"));
    let begun = case("nobody gets onto the allow list by a field", modern())
        .change(|limiter| limiter.allow_list().add("127.0.0.0/8").unwrap())
        .ask(with(get(), "forwarded", "for=127.0.0.1"), first());
    all_refused(begun, forged)
}

fn the_deny_list() -> Case {
    let forged = ["198.51.100.1", "198.51.100.2, 192.0.2.1", "", "\"", "127.0.0.1"];
    let begun = case("nobody gets off the deny list by a field", modern())
        .change(|limiter| limiter.deny_list().add("192.0.2.0/24").unwrap());
    let forged = forged.map(|value| with(get(), X_FORWARDED_FOR, value));
    forged.into_iter().fold(begun, |case, request| case.ask(request, banned()))
}

fn another_s_fallback() -> Case {
    let missing = OnMissing::ClientIp(ClientIp::new());
    let options = modern().key(Header::new("x-api-key").missing(missing));
    let spends = ["192.0.2.1", "\u{80}client", "%00client", "client|192.0.2.1", "192.0.2.1/32"];
    let begun = case("no value of a key spends what another has by address", options);
    let begun = spends.iter().fold(begun, |case, value| {
        case.ask(with(get_from("198.51.100.1"), "x-api-key", value), first())
    });
    begun.ask(get(), first()).ask(get(), again())
}

fn fields_of_similar_names() -> Case {
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
        case("no field of a similar name is the key", modern().key(Header::new("x-api-key")))
            .ask(with(get(), "x-api-key", "mallory"), first());
    all_refused(begun, forged)
}

fn one_session_in_many_writings() -> Case {
    let cookie = |line: &'static str| with(get(), "cookie", line);
    let writings = [
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
    let begun =
        case("a session has one limit however it is written", modern().key(Cookie::new("sid")))
            .ask(cookie("sid=s-1"), first());
    all_refused(begun, writings.map(cookie))
}

fn another_cookie_before_or_behind() -> Case {
    let lines = ["sid=1; sid=s-1", "sid=s-1; sid=2", "s%69d=3; sid=s-1", "sid=\u{80}; sid=s-1"];
    let begun = case(
        "who sends several cookies has no fresh limit, whichever of them the service reads",
        modern().key(Cookie::new("sid").missing(OnMissing::Anonymous)),
    )
    .ask(with(get(), "cookie", "sid=1; sid=s-1"), first());
    all_refused(begun, lines.map(|line| with(get(), "cookie", line)))
        .ask(with(with(get(), "cookie", "sid=4"), "cookie", "sid=s-1"), again())
        .ask(with(get(), "cookie", "sid=s-1"), first())
}
