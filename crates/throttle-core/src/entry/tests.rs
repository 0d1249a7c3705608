use super::*;

fn entry(text: &str) -> Entry {
    text.parse().unwrap()
}

#[test]
fn a_text_that_looks_like_an_address_but_is_not_one_is_an_error() {
    let table = [
        "203.0.113.9:51234",
        "203.0.113.9:https",
        "fe80::1%eth0",
        "fe80::1%1",
        "10.0.0.*",
        "10.0.*.*",
        "10.*",
        "10.0.0.[1-9]",
        "10.0.0.1-10.0.0.9",
        "10.0.0.1-9",
        "10.0.0.1 - 10.0.0.9",
        "10.0.0.1,10.0.0.2",
        "10.0.0.1, 10.0.0.2",
        "10.0.0.1;",
        "10.0.0.1.5",
        "2001:db8::zz",
        "2001:db8::1-2001:db8::9",
        "2001:db8::*",
        "2001:db8:*",
        "2001:db8:1:2:3:4:5:6:7",
        "2001:db8:1:2:3:4:5:g",
        "2001:db8::1::2",
        "::g",
        ":::",
        "[::1]",
        "[::1]:8080",
        "[2001:db8::]/32",
        "10.0.0.256",
        "10.0.0/8",
        "10.0.0.0/8/8",
        "10.0.0.0/255.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/",
        "10.0.0.1/anything",
        "2001:db8::/129",
        "::ffff:10.0.0.0/129",
        " 10.0.0.1",
        "10.0.0.0/8 ",
        "",
    ];
    for text in table {
        let error = text.parse::<Entry>().expect_err(text);
        assert_eq!(Entry::try_from(text), Err(error.clone()));
        assert!(error.to_string().contains(&quoted(text)), "{error}");
    }
}

#[test]
fn a_text_that_only_resembles_an_address_is_a_key() {
    for text in [
        "user:42",
        "a:b:c",
        "a:b:c:d",
        "1.2",
        "1.2.3",
        "1.2.3-beta",
        "1.2.3.4x",
        "acme/8",
        "v1.2/8x",
        "a.b.c.d",
        "10",
        "...",
        "2024-01-02",
        "00:1a:2b:3c:4d:5e",
        "user::42",
        "*",
        "a*",
        "12:30:59",
        "1.2/users",
        "100%",
        "a b",
        "%",
        "key:x",
        "address-key:x",
        "ключ",
    ] {
        assert_eq!(entry(text), Entry::key(text), "{text}");
    }
}

#[test]
fn a_network_of_all_addresses_must_be_explicit() {
    for text in ["0.0.0.0/0", "10.0.0.0/0", "::/0", "2001:db8::1/0", "::ffff:0:0/96"] {
        let error = text.parse::<Entry>().expect_err(text).to_string();
        assert!(error.contains("all_ipv4") && error.contains("all_ipv6"), "{error}");
        let (address, prefix) = text.split_once('/').unwrap();
        let (address, prefix) = (address.parse().unwrap(), prefix.parse().unwrap());
        assert!(Entry::network(address, prefix).is_err(), "{text}");
    }
    assert_eq!(Entry::all_ipv4().to_string(), "0.0.0.0/0");
    assert_eq!(Entry::all_ipv6().to_string(), "::/0");
}

#[test]
fn a_key_is_an_entry_whatever_its_text() {
    let hostile =
        ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.1", "a b", "100%", "", " x", "10.0.0.*", "::"];
    for (i, text) in hostile.iter().enumerate() {
        let key = Key::from(text.as_bytes());
        assert!(*Entry::from(&key).matches() == Matches::Key(key.clone().into_owned()));
        for other in &hostile[..i] {
            assert_ne!(Entry::from(&key), Entry::key(other.as_bytes()));
        }
    }
    let address = IpAddr::from([10, 0, 0, 1]);
    let entries = [Entry::from(address), Entry::key(address), Entry::key("10.0.0.1")];
    assert!(entries[0] != entries[1] && entries[1] != entries[2] && entries[0] != entries[2]);
}

#[test]
fn encoded_entries_are_distinct_and_survive_a_round_trip() {
    let address: IpAddr = "2001:db8::5".parse().unwrap();
    let client = Key::network(address, 64);
    let long = "x".repeat(10_000);
    let entries = [
        Entry::from(address),
        Entry::network(address, 64).unwrap(),
        Entry::network("::ffff:10.1.2.3".parse().unwrap(), 104).unwrap(),
        Entry::all_ipv4(),
        Entry::all_ipv6(),
        Entry::from(&client),
        Entry::key("2001:db8::/64"),
        Entry::key(Key::join([&client, &Key::from("a|b %")])),
        Entry::key("10.0.0.0/8"),
        Entry::key("0.0.0.0/0"),
        Entry::key(""),
        Entry::key("key:"),
        Entry::key("a b\n\u{e9}%"),
        Entry::key(&[0xff, 0][..]),
        Entry::key(&long),
        Entry::key(Key::from(&long).as_bytes()),
    ];
    for (i, entry) in entries.iter().enumerate() {
        let text = entry.encode();
        assert!(text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() < 1_000, "{text}");
        assert_eq!(Entry::decode(&text).as_ref(), Some(entry), "{text}");
        assert!(entries[..i].iter().all(|other| other.encode() != text), "{text}");
    }
    assert_eq!(entries[2].encode(), "10.0.0.0/8");
    for text in ["", "user:42", "key", "10.0.0.0/33", "key:%", "10.0.0.1:80", "KEY:x"] {
        assert_eq!(Entry::decode(text), None, "{text}");
    }
}

#[test]
fn an_error_shortens_a_long_text() {
    let long = format!("10.0.0.0/{}", "9".repeat(10_000));
    let error = long.parse::<Entry>().unwrap_err().to_string();
    assert!(error.contains("10.0.0.0/999") && error.len() < 400, "{error}");
}
