use proptest::{collection::vec, prelude::*};
use sfv::{BareItem, Item, List, ListEntry, Parser};

use super::*;

/// 2026-01-01, 00:00 UTC, which is a Thursday.
const NOW: Micros = Micros::new(1_767_225_600_000_000);

fn requested(status: u16, fields: &[(&'static str, &str)]) -> Option<u64> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    let pause = requested_pause(StatusCode::from_u16(status).unwrap(), &headers, NOW)?;
    assert_eq!(pause.subsec_nanos(), 0);
    Some(pause.as_secs())
}

#[test]
fn retry_after_counts_only_in_a_response_about_rate_or_load() {
    for status in [429, 503] {
        assert_eq!(requested(status, &[("retry-after", "7")]), Some(7), "{status}");
    }
    for status in [200, 202, 301, 400, 403, 404, 413, 500, 502, 504] {
        assert_eq!(requested(status, &[("retry-after", "7")]), None, "{status}");
    }
    for (code, pause) in [("8", Some(7)), ("14", Some(7)), ("0", None), ("5", None), ("88", None)] {
        assert_eq!(requested(200, &[("grpc-status", code), ("retry-after", "7")]), pause, "{code}");
    }
    assert_eq!(requested(429, &[]), None);
}

#[test]
fn a_date_counts_from_the_date_of_the_response_or_from_now() {
    let forms = [
        "Thu, 01 Jan 2026 00:01:30 GMT",
        "Thursday, 01-Jan-26 00:01:30 GMT",
        "Thu Jan  1 00:01:30 2026",
    ];
    for until in forms {
        assert_eq!(requested(429, &[("retry-after", until)]), Some(90), "{until}");
        let date = ("date", "Thu, 01 Jan 2026 00:01:00 GMT");
        assert_eq!(requested(429, &[date, ("retry-after", until)]), Some(30), "{until}");
        assert_eq!(
            requested(429, &[("date", "today"), ("retry-after", until)]),
            Some(90),
            "{until}"
        );
    }
    assert_eq!(requested(429, &[("retry-after", "Wed, 31 Dec 2025 23:59:59 GMT")]), Some(0));
}

#[test]
fn an_invalid_time_requests_no_pause_and_a_very_long_one_is_capped() {
    for value in
        ["", "-1", "1.5", "+7", "7s", "soon", "0x10", "7, 8", "Thu, 32 Jan 2026 00:00:00 GMT"]
    {
        assert_eq!(requested(429, &[("retry-after", value)]), None, "{value}");
    }
    assert_eq!(requested(429, &[("retry-after", " 7 ")]), Some(7));
    assert_eq!(requested(429, &[("retry-after", "99999999999999999999999")]), Some(u64::MAX));
    let far = [
        ("date", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT"),
    ];
    assert_eq!(requested(429, &far), Some(253_402_300_799));
}

#[test]
fn an_exhausted_policy_counts_on_every_response() {
    let policies = [
        (r#""api";r=0;t=30"#, Some(30)),
        (r#""api";t=30;r=0"#, Some(30)),
        (r#""api" ;r=0;  t=30 "#, Some(30)),
        (r#""api";r=0;pk=:c29t:;t=30;x="r=1;t=2""#, Some(30)),
        ("api;r=0;t=30", Some(30)),
        (r#""a";r=0;t=30, "b";r=0;t=60,"c";r=5;t=90"#, Some(60)),
        (r#""a, b;r=0;t=9";r=5;t=1"#, None),
        (r#""a\", b;r=0;t=9";r=5;t=1"#, None),
        (r#""a\\";r=0;t=9"#, Some(9)),
        (r#""api";r=1;t=30"#, None),
        (r#""api";r=0"#, None),
        (r#""api";t=30"#, None),
        (r#""api";r=0;t=-30"#, None),
        (r#""api";r=-0;t=30"#, None),
        (r#""api";r=0.0;t=30"#, None),
        (r#""api";r=0;r=1;t=30"#, None),
        (r#""api";r=0;r;t=30"#, None),
        (r#""api;r=0;t=30"#, None),
        ("r=0;t=30", None),
        ("", None),
    ];
    for (field, pause) in policies {
        for status in [200, 404, 429] {
            assert_eq!(requested(status, &[("ratelimit", field)]), pause, "{status}: {field}");
        }
    }
}

#[test]
fn the_longest_of_several_pauses_counts() {
    let lines = [("ratelimit", r#""a";r=0;t=5"#), ("ratelimit", r#""b";r=0;t=9"#)];
    assert_eq!(requested(200, &lines), Some(9));
    assert_eq!(requested(429, &[lines[0], lines[1], ("retry-after", "7")]), Some(9));
    assert_eq!(requested(429, &[lines[0], lines[1], ("retry-after", "11")]), Some(11));
}

/// Reads the field with a parser of structured fields; `None` if it is invalid or contains other members than items.
fn by_the_standard(field: &str) -> Option<Option<Duration>> {
    let list: List = Parser::new(field).parse().ok()?;
    let mut longest = None;
    for entry in list {
        let ListEntry::Item(Item { params, .. }) = entry else { return None };
        let number = |name: &str| match params.get(name) {
            Some(BareItem::Integer(number)) => u64::try_from(i64::from(*number)).ok(),
            _ => None,
        };
        if number("r") == Some(0) {
            longest = longest.max(number("t").map(Duration::from_secs));
        }
    }
    Some(longest)
}

/// Generates parts of structured fields, joined to valid and invalid values.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = [
        "\"api\"",
        "a",
        ";r=0",
        ";t=5",
        "; t=70",
        ";r=1",
        ";r",
        ";t=-1",
        ";x=\"\\\";r=0;t=9\"",
        ",",
        ", ",
        "\"",
        "\\",
        ";",
        "=",
        " ",
        "1",
        ";r=0;t=8",
    ];
    vec(prop::sample::select(pieces.to_vec()), 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_valid_field_is_read_as_the_standard_defines(field in pieces()) {
        if let Some(expected) = by_the_standard(&field) {
            let value = HeaderValue::from_str(&field).unwrap();
            prop_assert_eq!(exhausted_for(&value), expected, "{}", field);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in vec(prop_oneof![Just(b'\t'), 32..=126u8, 128..=255u8], 0..80)) {
        let mut headers = HeaderMap::new();
        for name in ["ratelimit", "retry-after", "date"] {
            headers.append(name, HeaderValue::from_bytes(&bytes).unwrap());
        }
        let _ = requested_pause(StatusCode::TOO_MANY_REQUESTS, &headers, NOW);
    }
}
