use std::net::IpAddr;

use super::*;
use crate::ManualClock;

const HOUR: Duration = Duration::from_secs(3_600);
const MICRO: Duration = Duration::from_micros(1);

fn allow_list(entries: &[&str]) -> AllowList {
    let list = AllowList::new(None);
    for entry in entries {
        list.add(*entry).unwrap();
    }
    list
}

fn deny_list() -> (DenyList, ManualClock) {
    let clock = ManualClock::default();
    clock.advance(1_000 * HOUR);
    (DenyList::new(Some(Arc::new(clock.clone()))), clock)
}

fn address(text: &str) -> Key<'static> {
    Key::from(text.parse::<IpAddr>().unwrap())
}

fn stored(list: &DenyList) -> usize {
    let entries = list.0.own.entries.read().unwrap();
    entries.keys.len() + entries.nets.len()
}

#[test]
fn a_key_matches_only_by_its_whole_text() {
    let list = allow_list(&["user:42", "a/b", "ключ", "::"]);
    for key in ["user:42", "a/b", "ключ"] {
        assert!(list.contains(key), "{key}");
    }
    for key in ["user:4", "user:421", "User:42", "user:42 ", "", "a", "a/b/c"] {
        assert!(!list.contains(key), "{key}");
    }
}

#[test]
fn a_network_contains_its_first_and_last_address_and_no_neighbour() {
    let list =
        allow_list(&["10.1.0.0/16", "192.0.2.64/26", "2001:db8:1::/48", "2001:db8:2::8/125"]);
    let within = [
        ["10.1.0.0", "10.1.255.255"],
        ["192.0.2.64", "192.0.2.127"],
        ["2001:db8:1::", "2001:db8:1:ffff:ffff:ffff:ffff:ffff"],
        ["2001:db8:2::8", "2001:db8:2::f"],
    ];
    let outside = [
        ["10.0.255.255", "10.2.0.0"],
        ["192.0.2.63", "192.0.2.128"],
        ["2001:db8:0:ffff:ffff:ffff:ffff:ffff", "2001:db8:2::"],
        ["2001:db8:2::7", "2001:db8:2::10"],
    ];
    for key in within.as_flattened() {
        assert!(list.contains(address(key)), "{key}");
    }
    for key in outside.as_flattened() {
        assert!(!list.contains(address(key)), "{key}");
    }
}

#[test]
fn every_prefix_length_is_a_network() {
    for prefix in 1..=32_u32 {
        let list = allow_list(&[&format!("203.0.113.9/{prefix}")]);
        assert!(list.contains(address("203.0.113.9")), "/{prefix}");
        let flipped = |bit: u32| std::net::Ipv4Addr::from_bits(0xcb00_7109 ^ (1 << (31 - bit)));
        assert!(!list.contains(Key::from(IpAddr::from(flipped(prefix - 1)))), "/{prefix}");
        if prefix < 32 {
            assert!(list.contains(Key::from(IpAddr::from(flipped(prefix)))), "/{prefix}");
        }
    }
    for prefix in 1..=128 {
        assert!(allow_list(&[&format!("2001:db8::1/{prefix}")]).contains(address("2001:db8::1")));
    }
}

#[test]
fn a_network_written_by_any_of_its_addresses_is_the_same_entry() {
    let list = allow_list(&["10.1.2.3/8", "10.0.0.0/8", "10.255.255.255/8"]);
    assert_eq!(list.len(), 1);
    assert!(list.contains(address("10.200.0.1")));
    assert!(list.remove("10.9.9.9/8").unwrap());
    assert!(list.is_empty());
}

#[test]
fn ipv4_in_its_ipv6_mapping_is_ipv4() {
    let list = allow_list(&["::ffff:10.0.0.0/104", "::ffff:192.0.2.7", "203.0.113.0/24"]);
    for key in ["10.200.0.1", "::ffff:10.200.0.1", "192.0.2.7", "::ffff:192.0.2.7"] {
        assert!(list.contains(address(key)), "{key}");
    }
    assert!(
        list.contains(address("::ffff:203.0.113.5"))
            && list.contains(address("::ffff:203.0.113.5"))
    );
    assert!(!list.contains(address("11.0.0.1")) && !list.contains(address("192.0.2.8")));
}

#[test]
fn a_network_of_one_family_contains_no_address_of_the_other() {
    let (four, six) = (allow_list(&[]), allow_list(&[]));
    four.add(Entry::all_ipv4()).unwrap();
    six.add(Entry::all_ipv6()).unwrap();
    assert!(four.contains(address("198.51.100.1")) && !four.contains(address("2001:db8::1")));
    assert!(six.contains(address("2001:db8::1")) && !six.contains(address("198.51.100.1")));
}

#[test]
fn an_address_matches_however_it_is_written() {
    let list = allow_list(&["2001:DB8:0:0::1"]);
    assert!(
        list.contains(address("2001:db8::1")) && list.contains(address("2001:0db8:0000::0001"))
    );
    assert!(list.contains(address("2001:db8::1")));
    // The key of a network has the address of its client, which decides.
    let client: IpAddr = "2001:db8::1".parse().unwrap();
    assert!(list.contains(Key::network(client, 64)));
    let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
    assert!(!list.contains(Key::network(neighbour, 64)));
    assert!(allow_list(&["2001:db8::/64"]).contains(Key::network(neighbour, 64)));
}

#[test]
fn a_text_chosen_by_a_client_is_not_an_address_to_the_allow_list() {
    let list = allow_list(&["10.0.0.0/8", "192.0.2.7", "key-1"]);
    for text in ["10.0.0.1", "192.0.2.7"] {
        assert!(list.contains(address(text)) && !list.contains(text));
        assert!(!list.contains(Key::from(text).opaque()), "{text}");
        assert!(!list.contains(text.as_bytes()), "{text}");
        assert!(!list.contains(Key::parts([text])), "{text}");
    }
    assert!(list.contains(Key::from("key-1").opaque()), "it still matches as a key");
}

#[test]
fn a_text_that_is_not_an_address_is_a_key() {
    let list = AllowList::new(None);
    for key in ["user:42", "1.2", "1.2.3", "1.2.3.4x", "acme/8", "a.b.c.d", "10", "..."] {
        list.add(key).unwrap();
        assert!(list.contains(key), "{key}");
    }
}

#[test]
fn an_invalid_entry_is_an_error_that_shows_it() {
    let list = AllowList::new(None);
    let (deny, _) = deny_list();
    let table = ["", "0.0.0.0/0", "10.0.0.0/33", "203.0.113.9:51234", "10.0.0.*", "2001:db8::zz"];
    for entry in table {
        let error = list.add(entry).unwrap_err();
        assert_eq!(list.remove(entry).unwrap_err(), error);
        assert_eq!(deny.add(entry).unwrap_err(), error);
        assert_eq!(deny.add_for(entry, HOUR).unwrap_err(), error);
        let text = error.to_string();
        assert!(text.contains(entry), "{text}");
    }
    assert!(list.is_empty() && deny.is_empty());
}

#[test]
fn a_removed_entry_no_longer_matches_and_others_stay() {
    let list = allow_list(&["user:1", "user:2", "10.0.0.0/8", "10.1.0.0/16"]);
    assert_eq!(list.len(), 4);
    assert!(list.remove("user:1").unwrap());
    assert!(!list.remove("user:1").unwrap(), "removed twice");
    assert!(!list.contains("user:1") && list.contains("user:2"));
    assert!(list.remove("10.0.0.0/8").unwrap());
    assert!(
        !list.contains(address("10.2.0.0")) && list.contains(address("10.1.0.0")),
        "the narrower one stays"
    );
    assert!(!list.remove("10.1.0.0").unwrap(), "an address in the network is another entry");
    assert_eq!(list.len(), 2);
    list.clear();
    assert!(list.is_empty() && !list.contains("user:2") && !list.contains(address("10.1.0.0")));
    list.add("user:2").unwrap();
    assert!(list.contains("user:2") && list.len() == 1, "a cleared list accepts entries");
}

#[test]
fn a_timed_entry_ends_exactly_at_its_end() {
    for (entry, key) in
        [("user:42", "user:42"), ("203.0.113.9", "203.0.113.9"), ("203.0.113.0/24", "203.0.113.9")]
    {
        let (list, clock) = deny_list();
        list.add_for(entry, HOUR).unwrap();
        assert_eq!(list.find(&key.into()), Some(Some(HOUR.into())));
        clock.advance(HOUR - MICRO);
        assert_eq!(list.find(&key.into()), Some(Some(MICRO.into())), "{entry}");
        assert_eq!(list.len(), 1);
        clock.advance(MICRO);
        assert_eq!(list.find(&key.into()), None, "{entry}");
        assert!(list.is_empty());
        assert!(!list.remove(entry).unwrap(), "an expired entry is absent");
    }
}

#[test]
fn a_clock_that_steps_back_does_not_extend_an_entry() {
    let (list, clock) = deny_list();
    list.add_for("user:42", HOUR).unwrap();
    clock.set(std::time::SystemTime::UNIX_EPOCH);
    assert_eq!(list.find(&"user:42".into()), Some(Some(HOUR.into())));
    clock.advance(HOUR - MICRO);
    assert!(list.contains("user:42"));
    clock.advance(MICRO);
    assert!(!list.contains("user:42"), "an hour after the step back it is over");
}

#[test]
fn a_later_entry_replaces_the_end_and_a_permanent_entry_has_none() {
    let (list, clock) = deny_list();
    list.add_for("user:42", HOUR).unwrap();
    list.add_for("user:42", 2 * HOUR).unwrap();
    assert_eq!(list.find(&"user:42".into()), Some(Some((2 * HOUR).into())));
    list.add_for("user:42", HOUR / 2).unwrap();
    assert_eq!(list.find(&"user:42".into()), Some(Some((HOUR / 2).into())));
    list.add("user:42").unwrap();
    assert_eq!((list.find(&"user:42".into()), list.len()), (Some(None), 1));
    clock.advance(100 * HOUR);
    assert!(list.contains("user:42"));
}

#[test]
fn of_several_networks_the_entry_that_lasts_longest_counts() {
    let (list, clock) = deny_list();
    list.add_for("10.0.0.0/8", HOUR).unwrap();
    list.add_for("10.1.0.0/16", 3 * HOUR).unwrap();
    list.add_for("10.1.1.1", 2 * HOUR).unwrap();
    assert_eq!(list.find(&"10.1.1.1".into()), Some(Some((3 * HOUR).into())));
    clock.advance(3 * HOUR);
    list.add_for("10.1.0.0/16", HOUR).unwrap();
    list.add("10.0.0.0/8").unwrap();
    assert_eq!(list.find(&"10.1.1.1".into()), Some(None), "a permanent entry lasts longest");
}

#[test]
fn of_a_key_and_its_network_the_entry_that_lasts_longest_counts() {
    let (list, clock) = deny_list();
    let client = address("192.0.2.1");
    list.add_key_for(&client, HOUR);
    list.add_for("192.0.2.0/24", 2 * HOUR).unwrap();
    assert_eq!(list.find(&client), Some(Some(Micros::from(2 * HOUR))));
    list.add_for("192.0.2.0/24", HOUR / 2).unwrap();
    assert_eq!(list.find(&client), Some(Some(Micros::from(HOUR))));
    list.add("192.0.2.0/24").unwrap();
    assert_eq!(list.find(&client), Some(None), "permanent");
    clock.advance(HOUR);
    assert_eq!(list.find(&client), Some(None));
    assert!(list.remove("192.0.2.0/24").unwrap());
    assert_eq!(list.find(&client), None);
}

#[test]
fn an_entry_of_zero_length_matches_nothing_and_the_longest_does_not_panic() {
    let (list, _) = deny_list();
    list.add_for("user:1", Duration::ZERO).unwrap();
    list.add_for("user:2", Duration::MAX).unwrap();
    assert!(!list.contains("user:1") && list.contains("user:2"));
    assert_eq!(list.len(), 1);
}

#[test]
fn expired_entries_are_removed_as_others_are_added() {
    let (list, clock) = deny_list();
    for round in 0..100 {
        for n in 0..50 {
            list.add_for(&format!("user:{round}:{n}"), HOUR).unwrap();
            list.add_for(&format!("10.{round}.{n}.0/24"), HOUR).unwrap();
        }
        assert_eq!(list.len(), 100, "round {round}");
        assert!(stored(&list) <= 400, "{} entries in round {round}", stored(&list));
        clock.advance(HOUR);
    }
    assert_eq!(list.len(), 0);
}

#[test]
fn entries_change_during_look_ups() {
    let (list, clock) = deny_list();
    list.add("10.0.0.0/8").unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (list, clock) = (&list, &clock);
            scope.spawn(move || {
                for n in 0..200 {
                    let entry = format!("user:{thread}:{}", n % 10);
                    list.add_for(&entry, HOUR).unwrap();
                    assert!(list.contains(&entry) && list.contains("10.1.2.3"));
                    assert!(list.remove(&entry).unwrap());
                    clock.advance(MICRO);
                }
            });
        }
    });
    assert_eq!(list.len(), 1);
}

#[test]
fn keys_networks_and_addresses_are_added_with_their_types() {
    let (list, clock) = deny_list();
    let client = Key::from("0.0.0.0/0").opaque();
    let prefix: IpAddr = "2001:db8::7".parse().unwrap();
    list.add(&client).unwrap();
    list.add_for(prefix, HOUR).unwrap();
    list.add(Entry::network([192, 0, 2, 0].into(), 24).unwrap()).unwrap();
    list.add_for(Key::network(prefix, 64), 2 * HOUR).unwrap();
    for denied in [client.clone(), prefix.into(), address("192.0.2.200"), Key::network(prefix, 64)]
    {
        assert!(list.contains(&denied), "{denied}");
    }
    for free in [address("203.0.113.9"), address("2001:db8::8"), "0.0.0.0/1".into(), "".into()] {
        assert!(!list.contains(&free), "{free}");
    }
    clock.advance(HOUR);
    assert!(!list.contains(prefix) && list.contains(Key::network(prefix, 64)));
    assert!(list.remove(&client).unwrap() && !list.contains(&client));
    assert_eq!(list.len(), 2);
}

#[test]
fn changes_of_shared_entries_apply_in_order() {
    let (list, clock) = deny_list();
    let entry = |text: &str, left| ListEntry {
        list: crate::ListMatch::Denied,
        entry: text.parse().unwrap(),
        left,
    };
    list.replace_shared(vec![
        entry("a", None),
        entry("b", Some(HOUR)),
        entry("192.0.2.0/24", None),
    ]);
    assert_eq!(list.len(), 3);
    list.change_shared(vec![
        entry("a", Some(Duration::ZERO)),
        entry("c", None),
        entry("c", Some(HOUR)),
        entry("192.0.2.0/24", Some(Duration::ZERO)),
        entry("192.0.2.0/24", None),
        entry("never added", Some(Duration::ZERO)),
    ]);
    for (key, is_listed) in [("a", false), ("b", true), ("c", true), ("192.0.2.9", true)] {
        assert_eq!(list.contains(key), is_listed, "{key}");
    }
    clock.advance(HOUR);
    assert!(!list.contains("c") && list.len() == 1);
    list.change_shared(vec![entry("192.0.2.0/24", Some(Duration::ZERO))]);
    list.replace_shared(Vec::new());
    assert!(list.is_empty());
}
