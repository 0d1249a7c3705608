use http::{HeaderValue, Request};

use super::*;

fn request(values: &[&[u8]]) -> Request<()> {
    let mut request = Request::new(());
    for value in values {
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().append("x-api-key", value);
    }
    request
}

fn extract(name: &str, request: &Request<()>) -> Result<Vec<u8>, NoKey> {
    let head = RequestHead::new(request, None);
    Header::new(name).extract(&head).map(|key| key.as_bytes().to_vec())
}

#[test]
fn the_value_is_the_key_and_the_name_is_case_insensitive() {
    for name in ["x-api-key", "X-API-Key"] {
        assert_eq!(extract(name, &request(&[b"secret"])), Ok(b"secret".to_vec()));
    }
}

#[test]
fn the_first_of_several_values_is_the_key() {
    assert_eq!(extract("x-api-key", &request(&[b"one", b"two"])), Ok(b"one".to_vec()));
}

#[test]
fn a_value_is_bytes() {
    assert_eq!(extract("x-api-key", &request(&[b"\xff\x80"])), Ok(b"\xff\x80".to_vec()));
}

#[test]
fn an_empty_value_counts_as_missing() {
    let missing = NoKey::NoHeader("x-api-key".to_owned());
    for values in [&[&b""[..]][..], &[b"", b"key"]] {
        assert_eq!(extract("x-api-key", &request(values)), Err(missing.clone()));
    }
}

#[test]
fn a_long_value_is_kept_as_a_digest() {
    let request = request(&[&[b'k'; 64 * 1024]]);
    let header = Header::new("x-api-key");
    let key = header.extract(&RequestHead::new(&request, None)).unwrap();
    assert!(key.is_digest() && key.as_bytes().len() == 32);
}

#[test]
fn a_value_that_looks_like_an_address_is_no_address() {
    let request = request(&[b"10.0.0.1"]);
    let header = Header::new("x-api-key");
    assert_eq!(header.extract(&RequestHead::new(&request, None)).unwrap().address(), None);
}

#[test]
fn a_request_without_the_field_has_no_key_and_the_error_names_the_field() {
    let missing = extract("X-Api-Key", &request(&[])).unwrap_err();
    assert_eq!(missing, NoKey::NoHeader("x-api-key".to_owned()));
    assert_eq!(
        missing.to_string(),
        r#"the request has no header field "x-api-key", or it is empty"#
    );
}

#[test]
fn an_impossible_name_is_an_error_and_never_found() {
    for name in ["", "x key", "x-käy", "x\nkey"] {
        assert_eq!(extract(name, &request(&[b"k"])), Err(NoKey::NoHeader(name.to_owned())));
        let error = Header::new(name).validate().unwrap_err();
        assert_eq!(error, InvalidKey::HeaderName(name.to_owned()));
        assert!(error.to_string().contains("for example \"x-api-key\""), "{error}");
    }
    assert_eq!(Header::new("X-Api-Key").validate(), Ok(()));
}
