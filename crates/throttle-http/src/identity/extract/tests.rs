use std::net::IpAddr;

use http::{HeaderValue, Request};

use super::{
    super::{ClientIp, Header},
    *,
};

fn with(fields: &[(&'static str, &[u8])]) -> Request<()> {
    let mut request = Request::get("/users/7?page=2").body(()).unwrap();
    for (name, value) in fields {
        request.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    request
}

fn extract(key: impl ExtractKey, request: &Request<()>) -> Result<Key<'static>, NoKey> {
    let head = RequestHead::new(request, Some([192, 0, 2, 1].into()));
    key.extract(&head).map(Key::into_owned)
}

#[test]
fn a_function_may_return_any_kind_of_key() {
    let request = with(&[]);
    let address: IpAddr = "2001:db8::7".parse().unwrap();
    let table = [
        (extract(|_: &RequestHead<'_>| "text", &request), Key::from("text")),
        (extract(|_: &RequestHead<'_>| String::from("text"), &request), Key::from("text")),
        (extract(|_: &RequestHead<'_>| vec![0xff, 0], &request), Key::from(vec![0xff, 0])),
        (extract(|_: &RequestHead<'_>| 42_u64, &request), Key::from("42")),
        (extract(move |_: &RequestHead<'_>| address, &request), Key::from("2001:db8::/64")),
        (extract(|_: &RequestHead<'_>| Key::parts(["a", "b"]), &request), Key::from("a|b")),
        (extract(|_: &RequestHead<'_>| Some(Some("deep")), &request), Key::from("deep")),
    ];
    for (found, expected) in table {
        assert_eq!(found, Ok(expected));
    }
}

#[test]
fn a_function_that_returns_none_gives_no_key() {
    let none = |_: &RequestHead<'_>| None::<String>;
    assert_eq!(extract(none, &with(&[])), Err(NoKey::Unidentified));
    assert_eq!(NoKey::Unidentified.to_string(), "the request does not identify its client");
}

#[test]
fn a_function_sees_the_head_of_the_request() {
    let request = with(&[("x-tenant", b"t"), ("x-raw", b"\xff")]);
    let seen = |head: &RequestHead<'_>| {
        let (tenant, other) = (head.header("X-Tenant"), head.header("x-other"));
        let raw = (head.header("x-raw"), head.headers().contains_key("x-raw"));
        let (no_name, peer) = (head.header("no name"), head.peer());
        let address = (head.method(), head.path(), head.uri().query());
        format!("{address:?} {tenant:?} {other:?} {raw:?} {no_name:?} {peer:?}")
    };
    let expected =
        r#"(GET, "/users/7", Some("page=2")) Some("t") None (None, true) None Some(192.0.2.1)"#;
    assert_eq!(extract(seen, &request), Ok(Key::from(expected)));
}

#[test]
fn a_value_that_a_layer_left_in_the_extensions_can_be_the_key() {
    #[derive(Clone)]
    struct User(u64);
    let by_user = |head: &RequestHead<'_>| head.extensions().get::<User>().map(|user| user.0);
    let mut request = with(&[]);
    assert_eq!(extract(by_user, &request), Err(NoKey::Unidentified));
    request.extensions_mut().insert(User(7));
    assert_eq!(extract(by_user, &request), Ok(Key::from("7")));
}

#[test]
fn text_from_a_function_is_no_address_for_the_lists_but_an_address_is() {
    let request = with(&[]);
    let address = IpAddr::from([10, 0, 0, 1]);
    let text = extract(|_: &RequestHead<'_>| "10.0.0.1", &request).unwrap();
    let owned = extract(|_: &RequestHead<'_>| "10.0.0.1".to_owned(), &request).unwrap();
    let known = extract(move |_: &RequestHead<'_>| address, &request).unwrap();
    assert_eq!((text.address(), owned.address()), (None, None));
    assert_eq!(known.address(), Some(address));
    assert_eq!(text, known, "for a rule both are the same key");
}

#[test]
fn different_parts_of_a_tuple_never_give_the_same_key() {
    let key = |a: &'static [u8], b: &'static [u8]| {
        extract((Header::new("a"), Header::new("b")), &with(&[("a", a), ("b", b)])).unwrap()
    };
    assert_ne!(key(b"x", b"y|z"), key(b"x|y", b"z"));
    assert_ne!(key(b"x|", b"y"), key(b"x", b"|y"));
    assert_ne!(key(b"x%7C", b"y"), key(b"x|", b"y"));
    assert_ne!(key(b"|", b"x"), key(b"x", b"|"));
    assert_eq!(key(b"x", b"y"), key(b"x", b"y"));
}

#[test]
fn a_tuple_has_up_to_four_parts_of_any_kind() {
    let path = |head: &RequestHead<'_>| head.path().to_owned();
    let request = with(&[("a", b"1")]);
    let a = || Header::new("a");
    assert_eq!(extract((a(), path), &request), Ok(Key::from("1|/users/7")));
    assert_eq!(
        extract((a(), path, ClientIp::new()), &request).unwrap().as_bytes(),
        b"1|/users/7|192.0.2.1"
    );
    assert_eq!(extract((a(), a(), a(), a()), &request), Ok(Key::from("1|1|1|1")));
    assert_eq!(extract(((a(), a()), a()), &request), Ok(Key::parts(["1|1", "1"])), "or a tuple");
}

#[test]
fn a_tuple_without_a_key_reports_its_first_missing_part() {
    let key = (ClientIp::new(), Header::new("b"), Header::new("c"));
    assert_eq!(extract(key, &with(&[("c", b"1")])), Err(NoKey::NoHeader("b".to_owned())));
}

#[test]
fn a_tuple_is_invalid_if_a_part_is() {
    let wrong = || ClientIp::new().trusted_proxies(["nowhere"]);
    let invalid = wrong().validate();
    assert!(matches!(invalid, Err(InvalidKey::Proxy(_))), "{invalid:?}");
    assert!((Header::new("a"), ClientIp::new()).validate().is_ok());
    assert_eq!((Header::new("a"), wrong()).validate(), invalid);
    assert_eq!((wrong(), Header::new("a"), ClientIp::new()).validate(), invalid);
    let unnamed = (Header::new("a b"), wrong()).validate();
    assert_eq!(unnamed, Err(InvalidKey::HeaderName("a b".to_owned())));
}
