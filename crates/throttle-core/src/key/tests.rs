use super::*;

#[test]
fn an_address_and_its_text_are_one_key() {
    for text in ["0.0.0.0", "7.60.123.255", "100.10.9.200", "::1", "2001:db8::ff"] {
        let address: IpAddr = text.parse().unwrap();
        assert_eq!(Key::from(address), Key::from(text));
        assert_eq!(Key::from(text).address_in_text(), Some(address));
    }
    let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
    assert_eq!(Key::from(mapped), Key::from("192.0.2.7"));
}

#[test]
fn every_octet_is_written_as_the_standard_library_writes_it() {
    for octet in 0..=255 {
        let address = Ipv4Addr::new(octet, 255 - octet, octet, octet.wrapping_mul(7));
        assert_eq!(Key::from(IpAddr::V4(address)).as_bytes(), address.to_string().as_bytes());
    }
}

#[test]
fn a_text_chosen_by_a_client_is_not_an_address() {
    assert!(Key::from("10.0.0.1").address().is_none());
    assert!(Key::from("10.0.0.1").opaque().address_in_text().is_none());
    assert!(Key::from("10.0.0.1".as_bytes()).address().is_none());
    assert!(Key::parts(["10.0.0.1"]).address().is_none());
    let address: IpAddr = "10.0.0.1".parse().unwrap();
    assert_eq!(Key::from(address).opaque().address(), Some(address));
}

#[test]
fn a_client_with_a_whole_network_has_one_key() {
    let one: IpAddr = "2001:db8:aaaa:bbbb::1".parse().unwrap();
    let two: IpAddr = "2001:db8:aaaa:bbbb:ffff:ffff:ffff:ffff".parse().unwrap();
    let far: IpAddr = "2001:db8:aaaa:bbbc::1".parse().unwrap();
    assert_eq!(Key::network(one, 64), Key::network(two, 64));
    assert_ne!(Key::network(one, 64), Key::network(far, 64));
    assert_eq!(Key::network(one, 0).as_bytes(), b"::/0");
    assert_eq!(Key::network(two, 64).address(), Some(two));
    let long = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe";
    assert_eq!(Key::network(long.parse().unwrap(), 127), Key::from(&format!("{long}/127")));
}

#[test]
fn a_long_identity_is_stored_as_a_digest_that_no_text_equals() {
    let long = "x".repeat(64 * 1024);
    let key = Key::from(long.as_str());
    assert_eq!(key.as_bytes().len(), 32);
    assert_eq!(key, Key::from(long.clone()));
    assert_ne!(key, Key::from(key.as_bytes()));
    assert_ne!(key.to_token(), Key::from(key.to_token()).to_token());
    assert_ne!(key, Key::from("y".repeat(64 * 1024)));
}

#[test]
fn different_parts_never_give_the_same_key() {
    let tries = [["a", "b|c"], ["a|b", "c"], ["", "a|b|c"], ["a%7Cb", "c"], ["a", "b%7Cc"]];
    for (i, one) in tries.iter().enumerate() {
        for two in &tries[..i] {
            assert_ne!(Key::parts(one), Key::parts(two));
        }
    }
}

#[test]
fn join_equals_parts_and_a_digest_is_not_a_text() {
    let (one, two) = (Key::from("a|b"), Key::from("c"));
    assert_eq!(Key::join([&one, &two]), Key::parts(["a|b", "c"]));
    let long = Key::from("x".repeat(MAX_KEY_LEN + 1));
    let digest = Key::from(long.as_bytes());
    assert_ne!(Key::join([&long, &two]), Key::join([&digest, &two]));
    let forged = [b"%sha256:", long.as_bytes()].concat();
    assert_ne!(Key::join([&long, &two]), Key::parts([&forged[..], b"c"]));
}

#[test]
fn the_address_of_joined_keys_is_the_first_one_that_is_not_a_text() {
    let (one, two): (IpAddr, IpAddr) = ([192, 0, 2, 7].into(), [192, 0, 2, 8].into());
    let (route, client, proxy) = (Key::from("10.0.0.1"), Key::from(one), Key::from(two));
    assert_eq!(Key::join([&route, &client]).address(), Some(one));
    assert_eq!(Key::join([&client, &route, &proxy]).address(), Some(one));
    assert_eq!(Key::join([&Key::join([&route, &client]), &proxy]).address(), Some(one));
    assert_eq!(Key::join([&route, &route]).address(), None);
    assert_eq!(Key::join([&route, &client]), Key::parts(["10.0.0.1", "192.0.2.7"]));
}

#[test]
fn a_scoped_key_is_different_and_keeps_its_address() {
    let key = Key::from("192.0.2.7");
    let scoped = key.scoped("mark");
    assert_ne!(scoped, key);
    assert_eq!(scoped, Key::parts(["mark", "192.0.2.7"]));
    assert_eq!(scoped.address(), key.address());
    assert!(Key::from("10.0.0.1").opaque().scoped("mark").address().is_none());
}

#[test]
fn a_token_has_no_byte_with_a_meaning_to_storages() {
    let token = Key::from("a{b}:c d\n%\u{e9}").to_token();
    assert_eq!(token, "a%7Bb%7D:c%20d%0A%25%C3%A9");
    assert_eq!(Key::from("").to_token(), "");
}

#[test]
fn a_token_survives_a_round_trip() {
    let long = "x".repeat(MAX_KEY_LEN + 1);
    let bytes: Vec<u8> = (0..=255).collect();
    for key in [
        Key::from(""),
        Key::from("a b"),
        Key::from("100%"),
        Key::from(&bytes[..]),
        Key::from(&long),
    ] {
        assert_eq!(Key::from_token(&key.to_token()), Some(key.into_owned()));
    }
    for token in ["%", "%4", "%zz", "a%+1", "%sha256:", "%sha256:00", &long] {
        assert_eq!(Key::from_token(token), None, "{token}");
    }
}

#[test]
fn owning_a_key_changes_nothing() {
    for len in [0, 1, INLINE, INLINE + 1, MAX_KEY_LEN, MAX_KEY_LEN + 1] {
        let text = "k".repeat(len);
        assert_eq!(Key::from(text.as_str()).into_owned(), Key::from(text.as_str()));
        assert_eq!(Key::from(&Key::from(&text)), Key::from(text.as_str()));
    }
}

#[test]
fn a_number_is_the_key_of_its_digits_and_never_an_address() {
    assert_eq!(Key::from(u64::MAX).as_str(), Some("18446744073709551615"));
    assert_eq!(Key::from(i128::MIN).as_str(), Some(i128::MIN.to_string().as_str()));
    assert_eq!(Key::from(u128::MAX).as_str(), Some(u128::MAX.to_string().as_str()));
    assert_eq!(Key::from(7), Key::from("7"));
    assert_eq!((Key::from(7).address(), Key::from(7).address_in_text()), (None, None));
}

#[test]
fn only_text_is_returned_as_text() {
    let long = "x".repeat(MAX_KEY_LEN + 1);
    assert_eq!(Key::from("user:42").as_str(), Some("user:42"));
    assert_eq!(Key::from("").as_str(), Some(""));
    assert_eq!(Key::from(&b"\xff"[..]).as_str(), None);
    assert_eq!(Key::from(&long).as_str(), None, "the digest is not the text");
}
