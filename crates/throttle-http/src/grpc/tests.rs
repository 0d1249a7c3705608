use throttle_core::MAX_NAME_LEN;

use super::*;

fn translated(rejection: Response<&'static str>) -> Response<Bytes> {
    Protocol::Grpc.undecided(rejection.map(Bytes::from))
}

fn response(status: u16, content_type: &str, body: &'static str) -> Response<&'static str> {
    Response::builder().status(status).header("content-type", content_type).body(body).unwrap()
}

fn field<'a>(rejection: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    rejection.headers().get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn a_status_becomes_its_code_and_an_unmapped_status_the_default_code() {
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
        let rejection = translated(response(status, "text/plain", "no"));
        assert_eq!(rejection.status(), 200);
        assert_eq!(field(&rejection, "grpc-status"), Some(&*code.to_string()), "{status}");
    }
}

#[test]
fn the_body_becomes_the_message_if_it_is_text_or_has_a_detail_or_title() {
    let messages = [
        ("text/plain", "retry later", "retry later"),
        ("text/plain; charset=utf-8", " two\r\nlines ", "two%0D%0Alines"),
        ("application/problem+json", r#"{"title":"No","detail":"Not now"}"#, "Not now"),
        ("application/json", r#"{"title":"No"}"#, "No"),
        ("application/json", r#"{"error":1}"#, "rate limits are temporarily unavailable"),
        ("application/json", "{", "rate limits are temporarily unavailable"),
        ("text/html", "<p>no</p>", "rate limits are temporarily unavailable"),
        ("text/plain", "", "rate limits are temporarily unavailable"),
    ];
    for (content_type, body, message) in messages {
        let rejection = translated(response(503, content_type, body));
        assert_eq!(field(&rejection, "grpc-message"), Some(message), "{content_type}: {body}");
        assert!(rejection.body().is_empty());
    }
}

#[test]
fn a_text_without_a_type_becomes_the_message_and_other_bytes_do_not() {
    assert_eq!(field(&translated(Response::new("later")), "grpc-message"), Some("later"));
    let rejection = Protocol::Grpc.undecided(Response::new(Bytes::from_static(b"\xff")));
    let message = "rate limits are temporarily unavailable";
    assert_eq!(field(&rejection, "grpc-message"), Some(message));
}

#[test]
fn a_long_text_is_cut_at_a_character_boundary() {
    let rejection = Protocol::Grpc.undecided(Response::new(Bytes::from("€".repeat(5_000))));
    assert_eq!(field(&rejection, "grpc-message"), Some(&*"%E2%82%AC".repeat(512)));
}

#[test]
fn fields_of_the_body_are_removed_with_it_and_other_fields_stay() {
    let rejection = Response::builder()
        .status(503)
        .header("content-length", "5")
        .header("content-encoding", "gzip")
        .header("retry-after", "7")
        .header("x-own", "kept")
        .body("later")
        .unwrap();
    let rejection = translated(rejection);
    assert_eq!(field(&rejection, "content-length"), None);
    assert_eq!(field(&rejection, "content-encoding"), None);
    assert_eq!(field(&rejection, "content-type"), Some("application/grpc"));
    assert_eq!(
        (field(&rejection, "retry-after"), field(&rejection, "x-own")),
        (Some("7"), Some("kept"))
    );
}

#[test]
fn a_retry_after_that_is_not_a_number_adds_no_details() {
    for (value, has_details) in
        [("7", true), ("soon", false), ("-1", false), ("99999999999999999999", false)]
    {
        let rejection =
            Response::builder().status(503).header("retry-after", value).body("").unwrap();
        assert_eq!(
            field(&translated(rejection), "grpc-status-details-bin").is_some(),
            has_details,
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
fn every_message_becomes_a_valid_header_value() {
    for message in ["\0\x1f\x7f", "100 %", "é🦀\u{2028}", &"x".repeat(MAX_NAME_LEN)] {
        assert!(!message::percent_encoded(message).is_empty());
    }
    assert_eq!(message::percent_encoded("~ %\n\u{80}"), "~ %25%0A%C2%80");
}
