use std::time::{Duration, SystemTime};

use proptest::{collection::vec, prelude::*};
use sfv::{BareItem, Item, List, ListEntry, Parser};
use throttle_core::{Algorithm, AskKind, Key, Limiter, ManualClock, Rule};
use throttle_memory::MemoryStorage;

use super::*;

const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Returns a limiter whose clock stays at the epoch, where every window begins.
fn limiter(rules: impl IntoIterator<Item = Rule>) -> Limiter {
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH);
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock).build();
    for rule in rules {
        limiter.add_rule(rule).unwrap();
    }
    limiter
}

fn check(limiter: &Limiter, names: Option<&[&str]>, cost: Option<u64>) -> Decisions {
    let reply = limiter.begin(&Key::from("client"), names, cost, AskKind::Acquire);
    reply.into_ready().expect("memory is ready immediately").unwrap()
}

fn fields(headers: Headers) -> Fields {
    Fields::new(headers).unwrap()
}

fn once(limiter: &Limiter) -> Decisions {
    check(limiter, None, None)
}

fn api(limit: u64) -> Rule {
    Rule::per_minute("api", limit).algorithm(Algorithm::FixedWindow)
}

fn written(headers: Headers, decisions: &Decisions) -> HeaderMap {
    let mut map = HeaderMap::new();
    write(&fields(headers), decisions, &mut map);
    map
}

/// Writes the fields of a response to a request that was decided at the start of 2026.
fn write(fields: &Fields, decisions: &Decisions, map: &mut HeaderMap) {
    fields.values(decisions, None, || Micros::new(1_767_225_600_000_000)).write(map);
    if !decisions.is_allowed() {
        fields.write_retry_after(decisions, map);
    }
}

fn lines<'a>(map: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    map.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

/// Reads a field as a list of strings with integer parameters.
fn parsed(value: &str) -> Vec<(String, Vec<(String, i64)>)> {
    let list: List = Parser::new(value).parse().unwrap_or_else(|error| panic!("{value}: {error}"));
    list.into_iter()
        .map(|entry| {
            let ListEntry::Item(Item { bare_item: BareItem::String(name), params }) = entry else {
                panic!("{value}: no string");
            };
            let params = params.into_iter().map(|(key, value)| {
                let BareItem::Integer(value) = value else { panic!("{key}: no integer") };
                (key.to_string(), i64::from(value))
            });
            (name.as_str().to_owned(), params.collect())
        })
        .collect()
}

/// Reads a field that has one line.
fn parsed_line(map: &HeaderMap, name: &HeaderName) -> Vec<(String, Vec<(String, i64)>)> {
    let [line] = lines(map, name)[..] else { panic!("{name}: {map:?}") };
    parsed(line)
}

prop_compose! {
    fn any_rule()(
        name in "[ -~]{1,64}",
        limit in prop_oneof![1..=3_u64, 1..=1_000_000_u64],
        millis in prop_oneof![1..=2_500_u64, 1..=315_360_000_000_u64],
        algorithm in prop::sample::select(Algorithm::ALL.to_vec()),
        burst in prop::option::of(1..=50_u64),
    ) -> Rule {
        let rule = Rule::new(name, limit, Duration::from_millis(millis)).algorithm(algorithm);
        match burst {
            Some(burst) if rule.clone().burst(burst).check().is_ok() => rule.burst(burst),
            _ => rule,
        }
    }
}

proptest! {
    #[test]
    fn the_values_are_lists_of_names_with_integer_parameters(
        rules in vec(any_rule(), 1..5),
        requests in 1..4_usize,
    ) {
        let limiter = limiter([]);
        for rule in rules {
            limiter.replace_rule(rule).unwrap();
        }
        let fields = fields(Headers::all());
        for _ in 0..requests {
            let decisions = once(&limiter);
            let mut map = HeaderMap::new();
            write(&fields, &decisions, &mut map);
            let (policies, limits) =
                (parsed_line(&map, &RATE_LIMIT_POLICY), parsed_line(&map, &RATE_LIMIT));
            prop_assert_eq!(policies.len(), decisions.all().len());
            prop_assert_eq!(limits.len(), decisions.all().len());
            for ((decision, policy), limit) in decisions.all().iter().zip(policies).zip(limits) {
                let rule = decision.checked_rule();
                let micros = u128::from(rule.capacity()) * u128::from(rule.window().get());
                let window = micros.div_ceil(u128::from(rule.limit()));
                let secs = i64::try_from(window.div_ceil(1_000_000)).unwrap();
                let mut expected = vec![("q".to_owned(), number(rule.capacity()))];
                if window >= 1_000_000 {
                    expected.push(("w".to_owned(), secs));
                }
                prop_assert_eq!(policy, (rule.name().to_owned(), expected));
                let wait = decision.retry_after().unwrap_or(decision.reset_after());
                let secs = wait.as_micros().div_ceil(1_000_000) as i64;
                let state = [("r", number(decision.remaining())), ("t", secs)];
                let state = state.map(|(key, value)| (key.to_owned(), value)).to_vec();
                prop_assert_eq!(limit, (rule.name().to_owned(), state));
            }
            let waits = parsed_line(&map, &RATE_LIMIT).into_iter().map(|(_, params)| params[1].1);
            let longest = waits.max().unwrap();
            match lines(&map, &RETRY_AFTER)[..] {
                [] => prop_assert!(decisions.is_allowed()),
                [secs] => {
                    prop_assert!(!decisions.is_allowed());
                    prop_assert_eq!(lines(&map, &X_RESET), [secs]);
                    prop_assert!((1..=longest).contains(&secs.parse().unwrap()));
                }
                _ => prop_assert!(false, "Retry-After twice"),
            }
        }
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap()
}

#[test]
fn no_group_writes_a_field_of_another() {
    let limiter = limiter([api(1)]);
    let (allowed, denied) = (once(&limiter), once(&limiter));
    let none = Headers::none();
    let draft = ["ratelimit-policy", "ratelimit"];
    let draft_6 = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"];
    let legacy = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];
    let table: [(Headers, &[&str], &[&str]); 7] = [
        (none, &[], &[]),
        (none.rate_limit(true), &draft, &draft),
        (none.draft_7(true), &["ratelimit"], &["ratelimit"]),
        (none.draft_6(true), &draft_6, &draft_6),
        (none.legacy(true), &legacy, &legacy),
        (none.legacy(true).legacy_reset_as_unix_time(true), &legacy, &legacy),
        (none.retry_after(true), &[], &["retry-after"]),
    ];
    for (headers, if_allowed, if_denied) in table {
        let names = |decisions| {
            let map = written(headers, decisions);
            map.keys().map(|name| name.as_str().to_owned()).collect::<Vec<_>>()
        };
        let sorted = |mut names: Vec<String>| {
            names.sort_unstable();
            names
        };
        let owned = |names: &[&str]| sorted(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(sorted(names(&allowed)), owned(if_allowed), "{headers:?}");
        assert_eq!(sorted(names(&denied)), owned(if_denied), "{headers:?}");
    }
}

#[test]
fn a_group_is_disabled_by_false() {
    let decisions = once(&limiter([api(1)]));
    let off = Headers::all().rate_limit(false).legacy(false).retry_after(false);
    assert_eq!(off, Headers::none());
    assert_eq!(off.draft_7(true).draft_7(false).draft_6(true).draft_6(false), Headers::none());
    assert!(written(off, &decisions).is_empty());
    let relative = Headers::all().legacy_reset_as_unix_time(true).legacy_reset_as_unix_time(false);
    assert_eq!(lines(&written(relative, &decisions), &X_RESET), ["60"]);
}

#[test]
fn older_revisions_report_the_most_restrictive_rule_in_seconds_from_now() {
    let limiter = limiter([api(2), Rule::per_hour("hour", 9).algorithm(Algorithm::FixedWindow)]);
    let headers = Headers::all().draft_7(true).draft_6(true).legacy_reset_as_unix_time(true);
    let of = |decisions: &Decisions| {
        let map = written(headers, decisions);
        assert!(!map.contains_key(RATE_LIMIT_POLICY), "it belongs to the current revision");
        assert_eq!(lines(&map, &X_RESET), ["1767225660"]);
        [&RATE_LIMIT, &DRAFT_6[0], &DRAFT_6[1], &DRAFT_6[2]].map(|name| lines(&map, name).join(";"))
    };
    assert_eq!(of(&once(&limiter)), ["limit=2, remaining=1, reset=60", "2", "1", "60"]);
    once(&limiter);
    assert_eq!(of(&once(&limiter)), ["limit=2, remaining=0, reset=60", "2", "0", "60"]);
}

#[test]
fn older_revisions_are_left_out_without_a_reset_and_keep_existing_fields() {
    let headers = Headers::none().draft_7(true).draft_6(true);
    let no_wait_helps = check(&limiter([api(5)]), None, Some(6));
    assert!(written(headers, &no_wait_helps).is_empty());
    let mut map = HeaderMap::new();
    map.insert(RATE_LIMIT, HeaderValue::from_static(r#""a";r=1;t=5"#));
    let [limit, ..] = DRAFT_6;
    map.insert(limit, HeaderValue::from_static("7"));
    let before = map.clone();
    write(&fields(headers), &once(&limiter([api(5)])), &mut map);
    assert_eq!(map, before);
}

#[test]
fn the_last_choice_of_a_revision_applies() {
    let both = Headers::none().rate_limit(true).draft_7(true);
    assert_eq!(both, Headers::none().draft_7(true));
    assert_eq!(both.rate_limit(true), Headers::none().rate_limit(true));
    assert_eq!(Headers::default().draft_7(false), Headers::default());
}

#[test]
fn a_rendered_rule_is_replaced_when_the_rule_changes_and_only_then() {
    let limiter = limiter([api(1)]);
    let fields = fields(Headers::all());
    let policy = |decisions: &Decisions| {
        let mut map = HeaderMap::new();
        write(&fields, decisions, &mut map);
        let (policy, limit) = (lines(&map, &RATE_LIMIT_POLICY), lines(&map, &X_LIMIT));
        format!("{} of {}", policy.join(""), limit.join(""))
    };
    let old = once(&limiter);
    assert_eq!(policy(&old), r#""api";q=1;w=60 of 1"#);
    policy(&once(&limiter));
    assert!(fields.later.load().is_empty(), "the first is kept");

    limiter.replace_rule(Rule::per_hour("api", 5)).unwrap();
    let new = once(&limiter);
    assert_eq!(policy(&new), r#""api";q=5;w=3600 of 5"#);
    let latest = fields.later.load().last().cloned().unwrap();
    policy(&once(&limiter));
    assert!(
        Arc::ptr_eq(&latest, &fields.later.load().last().cloned().unwrap()),
        "the latest is kept"
    );
    limiter.add_rule(Rule::per_day("daily", 9)).unwrap();
    let both = once(&limiter);
    assert_eq!(policy(&both), r#""api";q=5;w=3600, "daily";q=9;w=86400 of 5"#);
    let swapped = check(&limiter, Some(&["daily", "api"]), None);
    assert_eq!(policy(&swapped), r#""daily";q=9;w=86400, "api";q=5;w=3600 of 5"#);
    // A request that was decided earlier is rendered with the rules of that time.
    assert_eq!(policy(&old), r#""api";q=1;w=60 of 1"#);
    assert_eq!(policy(&new), r#""api";q=5;w=3600 of 5"#);
}

#[test]
fn the_body_of_a_rejection_names_the_rules_that_deny() {
    let limiter = limiter([api(1), Rule::per_minute("web", 1).algorithm(Algorithm::FixedWindow)]);
    let fields = fields(Headers::none());
    let violated = |decisions: &Decisions| {
        let body: serde_json::Value = {
            let (_, body) = fields.rejection(decisions, None, || Micros::ZERO);
            serde_json::from_slice(&body).unwrap()
        };
        body["violated-policies"].to_string()
    };
    check(&limiter, Some(&["web"]), None);
    assert_eq!(violated(&once(&limiter)), r#"["web"]"#);
    check(&limiter, Some(&["api"]), None);
    assert_eq!(violated(&once(&limiter)), r#"["api","web"]"#);
    assert_eq!(violated(&check(&limiter, Some(&["api"]), None)), r#"["api"]"#);
}

#[test]
fn nested_layers_list_all_rules_but_write_the_legacy_fields_once() {
    let (inner, outer) = (limiter([Rule::per_hour("inner", 1)]), limiter([api(9)]));
    let mut map = written(Headers::all(), &once(&inner));
    let of_inner = map.clone();
    write(&fields(Headers::all()), &once(&outer), &mut map);
    for name in [X_LIMIT, X_REMAINING, X_RESET] {
        assert_eq!(lines(&map, &name), lines(&of_inner, &name), "{name}");
    }
    for name in [RATE_LIMIT, RATE_LIMIT_POLICY] {
        let names = parsed_line(&map, &name).into_iter().map(|(name, _)| name);
        assert!(names.eq(["inner", "api"]), "{name}");
    }
}

#[test]
fn a_list_of_several_lines_becomes_one_line_and_loses_no_entry() {
    let mut map = HeaderMap::new();
    map.append(RATE_LIMIT, HeaderValue::from_static(r#""a";r=1"#));
    map.append(RATE_LIMIT, HeaderValue::from_static(r#"token;x, ("b" 2);y=?1;z=:AA==:, 1.5 "#));
    write(&fields(Headers::all()), &once(&limiter([api(9)])), &mut map);
    let of_both = r#""a";r=1, token;x, ("b" 2);y=?1;z=:AA==:, 1.5 , "api";r=8;t=60"#;
    assert_eq!(lines(&map, &RATE_LIMIT), [of_both]);
    assert_eq!(lines(&map, &RATE_LIMIT_POLICY), [r#""api";q=9;w=60"#]);
}

const OURS: &str = r#""api";r=8;t=60"#;

/// Writes the fields to a response with these lines, and returns the value of `RateLimit`.
fn around(before: &[HeaderValue]) -> Vec<u8> {
    let mut map = HeaderMap::new();
    before.iter().for_each(|line| _ = map.append(RATE_LIMIT, line.clone()));
    write(&fields(Headers::all()), &once(&limiter([api(9)])), &mut map);
    let [line] = map.get_all(RATE_LIMIT).iter().collect::<Vec<_>>()[..] else { panic!("{map:?}") };
    line.as_bytes().to_vec()
}

#[test]
fn a_value_that_is_not_a_list_is_replaced() {
    let values: [&[u8]; 11] = [
        b"limit=100, remaining=50, reset=30",
        b"",
        b"  ",
        b",",
        b"\"a\";r=1,",
        b",\"a\";r=1",
        b"\"a",
        b"\"a\";R=1",
        b"\"b\";x=\"\xff\"",
        b"50 of 100",
        b"1234567890123456",
    ];
    for value in values {
        let lines = [HeaderValue::from_bytes(value).unwrap()];
        assert_eq!(around(&lines), OURS.as_bytes(), "{}", value.escape_ascii());
    }
    let two = [HeaderValue::from_static(r#""a";r=1"#), HeaderValue::from_static("limit=100")];
    assert_eq!(around(&two), OURS.as_bytes(), "both lines are a single value");
    let one_is_empty = [HeaderValue::from_static(""), HeaderValue::from_static(r#""a";r=1"#)];
    assert_eq!(around(&one_is_empty), format!("\"a\";r=1, {OURS}").as_bytes());
}

proptest! {
    #[test]
    fn for_any_existing_value_the_result_is_a_list_that_ends_with_ours(
        before in vec(prop_oneof![
            vec(any::<u8>(), 0..20),
            "[a\"0-9;=,:?()@% \\\\.-]{0,12}".prop_map(String::into_bytes),
            "(\"[a-z]\"(;[a-z]=[0-9])?,? ?){0,4}".prop_map(String::into_bytes),
        ], 0..4)
    ) {
        let lines: Vec<_> =
            before.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
        let written = around(&lines);
        prop_assert!(Parser::new(&written).parse::<List>().is_ok(), "{}", written.escape_ascii());
        prop_assert!(written.ends_with(OURS.as_bytes()));
    }
}

#[test]
fn the_rejection_of_an_inner_layer_keeps_its_wait_when_the_outer_layer_allows() {
    let (inner, outer) = (limiter([api(1)]), limiter([Rule::per_hour("outer", 9)]));
    once(&inner);
    let mut map = written(Headers::all(), &once(&inner));
    write(&fields(Headers::all()), &once(&outer), &mut map);
    assert_eq!(lines(&map, &RETRY_AFTER), ["60"]);
    assert_eq!(lines(&map, &X_REMAINING), ["0"]);
}

#[test]
fn legacy_fields_of_a_handler_are_kept() {
    let mut map = HeaderMap::new();
    map.insert(X_LIMIT, HeaderValue::from_static("7"));
    write(&fields(Headers::all()), &once(&limiter([api(1)])), &mut map);
    assert_eq!(lines(&map, &X_LIMIT), ["7"]);
    assert!(map.get(X_REMAINING).is_none() && map.get(RATE_LIMIT).is_some());
}

#[test]
fn a_reset_in_unix_time_is_after_now() {
    let limiter = limiter([api(1)]);
    let headers = Headers::none().legacy(true).legacy_reset_as_unix_time(true);
    let map = written(headers, &once(&limiter));
    assert_eq!(lines(&map, &X_RESET), ["1767225660"]);
}

#[test]
fn a_wait_is_rounded_up_and_never_zero() {
    let clock = ManualClock::at(SystemTime::UNIX_EPOCH);
    let limiter = Limiter::builder(MemoryStorage::new()).clock(clock.clone()).build();
    limiter.add_rule(api(1)).unwrap();
    once(&limiter);
    for (micros, secs) in [(0, 60), (1, 60), (59_000_000, 1), (59_000_001, 1), (59_999_999, 1)] {
        clock.set(SystemTime::UNIX_EPOCH + Duration::from_micros(micros));
        let denied = once(&limiter);
        assert_eq!(
            parameters::wait_secs(denied.most_restrictive(), false),
            Some(secs),
            "after {micros} µs"
        );
    }
}

#[test]
fn no_wait_is_written_if_no_wait_helps() {
    let limiter = limiter([api(5)]);
    let denied = check(&limiter, None, Some(6));
    let map = written(Headers::all(), &denied);
    assert!(!denied.is_allowed() && map.get(RETRY_AFTER).is_none());
    assert!(map.get(X_RESET).is_none() && map.get(X_REMAINING).is_some());
    assert_eq!(lines(&map, &RATE_LIMIT), [r#""api";r=5"#]);
}

#[test]
fn each_of_many_combinations_of_rules_is_written_correctly() {
    let rules = (0..=2 * MAX_LATER as u64).map(|i| Rule::per_minute(format!("r{i}"), i + 1));
    let limiter = limiter(rules);
    let fields = fields(Headers::none().rate_limit(true));
    for round in 0..2 {
        for i in 0..=2 * MAX_LATER as u64 {
            let name = format!("r{i}");
            let decisions = check(&limiter, Some(&[&name]), None);
            let mut map = HeaderMap::new();
            write(&fields, &decisions, &mut map);
            let left = i.saturating_sub(round);
            let policy = format!("\"{name}\";q={};w=60", i + 1);
            assert_eq!(lines(&map, &RATE_LIMIT_POLICY), [policy]);
            assert!(lines(&map, &RATE_LIMIT)[0].starts_with(&format!("\"{name}\";r={left};t=")));
        }
        assert!(fields.later.load().len() <= MAX_LATER);
    }
    // The latest combinations are still rendered.
    let before: Vec<_> = fields.later.load().iter().map(Arc::as_ptr).collect();
    let name = format!("r{}", 2 * MAX_LATER);
    write(&fields, &check(&limiter, Some(&[&name]), None), &mut HeaderMap::new());
    let after: Vec<_> = fields.later.load().iter().map(Arc::as_ptr).collect();
    assert_eq!(before, after);
}
