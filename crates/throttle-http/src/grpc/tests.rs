use throttle_core::MAX_NAME_LEN;

use super::*;

fn translated(refusal: Response<&'static str>) -> Response<Bytes> {
    Protocol::Grpc.undecided(refusal.map(Bytes::from))
}

fn response(status: u16, content_type: &str, body: &'static str) -> Response<&'static str> {
    Response::builder().status(status).header("content-type", content_type).body(body).unwrap()
}

fn field<'a>(refusal: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    refusal.headers().get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn a_status_becomes_the_code_of_its_meaning_and_any_other_the_one_for_want_of_one() {
    let codes = [
        (400, 3),
        (401, 16),
        (403, 7),
        (404, 5),
        (409, 10),
        (411, 3),
        (429, 8),
        (499, 1),
        (500, 13),
        (501, 12),
        (503, 14),
        (504, 4),
        (200, 14),
        (302, 14),
        (418, 14),
    ];
    for (status, code) in codes {
        let refusal = translated(response(status, "text/plain", "no"));
        assert_eq!(refusal.status(), 200);
        assert_eq!(field(&refusal, "grpc-status"), Some(&*code.to_string()), "{status}");
    }
}

#[test]
fn the_body_becomes_the_message_if_it_is_text_or_says_what_is_the_matter() {
    let messages = [
        ("text/plain", "come back", "come back"),
        ("text/plain; charset=utf-8", " two\r\nlines ", "two%0D%0Alines"),
        ("application/problem+json", r#"{"title":"No","detail":"Not now"}"#, "Not now"),
        ("application/json", r#"{"title":"No"}"#, "No"),
        ("application/json", r#"{"error":1}"#, "limits cannot be decided for the time being"),
        ("application/json", "{", "limits cannot be decided for the time being"),
        ("text/html", "<p>no</p>", "limits cannot be decided for the time being"),
        ("text/plain", "", "limits cannot be decided for the time being"),
    ];
    for (content_type, body, message) in messages {
        let refusal = translated(response(503, content_type, body));
        assert_eq!(field(&refusal, "grpc-message"), Some(message), "{content_type}: {body}");
        assert!(refusal.body().is_empty());
    }
}

#[test]
fn a_text_without_a_type_becomes_the_message_and_one_that_is_no_text_does_not() {
    assert_eq!(field(&translated(Response::new("later")), "grpc-message"), Some("later"));
    let refusal = Protocol::Grpc.undecided(Response::new(Bytes::from_static(b"\xff")));
    let told = "limits cannot be decided for the time being";
    assert_eq!(field(&refusal, "grpc-message"), Some(told));
}

#[test]
fn a_long_text_is_cut_between_its_characters() {
    let refusal = Protocol::Grpc.undecided(Response::new(Bytes::from("€".repeat(5_000))));
    assert_eq!(field(&refusal, "grpc-message"), Some(&*"%E2%82%AC".repeat(512)));
}

#[test]
fn what_is_of_the_body_goes_with_it_and_other_fields_stay() {
    let refusal = Response::builder()
        .status(503)
        .header("content-length", "5")
        .header("content-encoding", "gzip")
        .header("retry-after", "7")
        .header("x-own", "kept")
        .body("later")
        .unwrap();
    let refusal = translated(refusal);
    assert_eq!(field(&refusal, "content-length"), None);
    assert_eq!(field(&refusal, "content-encoding"), None);
    assert_eq!(field(&refusal, "content-type"), Some("application/grpc"));
    assert_eq!(
        (field(&refusal, "retry-after"), field(&refusal, "x-own")),
        (Some("7"), Some("kept"))
    );
}

#[test]
fn a_retry_after_that_is_no_number_makes_no_details() {
    for (value, is_told) in
        [("7", true), ("soon", false), ("-1", false), ("99999999999999999999", false)]
    {
        let refusal =
            Response::builder().status(503).header("retry-after", value).body("").unwrap();
        assert_eq!(
            field(&translated(refusal), "grpc-status-details-bin").is_some(),
            is_told,
            "{value}"
        );
    }
}

#[test]
fn details_are_base64_without_padding() {
    let details = |message| proto::Details {
        code: 8,
        message,
        retry_after: Some(Duration::from_secs(1)),
        violated: None,
    };
    for message in ["", "a", "ab"] {
        let value = details(message).encode().unwrap();
        assert!(!value.to_str().unwrap().contains('='), "{value:?}");
    }
}

#[test]
fn every_message_is_a_value_of_a_field() {
    for message in ["\0\x1f\x7f", "100 %", "é🦀\u{2028}", &"x".repeat(MAX_NAME_LEN)] {
        assert!(!message::percent_encoded(message).is_empty());
    }
    assert_eq!(message::percent_encoded("~ %\n\u{80}"), "~ %25%0A%C2%80");
}
