//! Requests without a key.

use http::StatusCode;
use throttle_http::identity::{ClientIp, Cookie, Header, OnMissing};

use crate::http::{
    answer::{allowed, problem},
    case::{Case, get, get_from, with},
    cases::{
        identity::{again, case, first, key, via},
        setup::modern,
    },
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        missing_and_anonymous(),
        missing_and_by_address(),
        missing_and_rejected(),
        missing_and_rejected_with_a_success_status(),
        a_cookie_that_is_missing(),
        a_part_that_is_missing(),
    ]
}

fn missing_and_anonymous() -> Case {
    let options = modern().key(Header::new("x-api-key").missing(OnMissing::Anonymous));
    case("requests without the field can share one limit", options)
        .ask(get(), first())
        .ask(get_from("198.51.100.7"), again())
        .ask(key(""), again())
        .ask(key("anonymous"), first())
        .ask(key("%00anonymous"), first())
        .ask(key("alice"), first())
        .ask(key("alice"), again())
}

fn missing_and_by_address() -> Case {
    let client = ClientIp::new().trusted_proxies(["10.0.0.1"]);
    let options = modern().key(Header::new("x-api-key").missing(OnMissing::ClientIp(client)));
    case(
        "requests without the field can be limited by address, separately from all values",
        options,
    )
    .change(|limiter| limiter.allow_list().add("198.51.100.0/24").unwrap())
    .ask(key("192.0.2.1"), first())
    .ask(get(), first())
    .ask(get(), again())
    .ask(via("10.0.0.1", "x-forwarded-for", "192.0.2.1"), again())
    .ask(get_from("192.0.2.2"), first())
    .ask(get_from("198.51.100.7"), allowed())
    .ask(get_from("198.51.100.7"), allowed())
}

fn missing_and_rejected() -> Case {
    let missing = OnMissing::Status(StatusCode::UNAUTHORIZED);
    let detail = r#"the request does not identify its client"#;
    let answer = problem(401, "Unauthorized", detail);
    let options = modern().key(Header::new("x-api-key").missing(missing));
    case("requests without the field are rejected with the configured status", options)
        .ask(get(), answer.clone())
        .ask(key("alice"), first())
        .ask(key(""), answer)
        .ask(key("alice"), again())
}

fn missing_and_rejected_with_a_success_status() -> Case {
    let detail = r#"the request does not identify its client"#;
    let options = modern().key(Header::new("x-api-key").missing(OnMissing::Status(StatusCode::OK)));
    case("a status that is not an error is replaced by 400", options)
        .ask(get(), problem(400, "Bad Request", detail))
        .ask(key("alice"), first())
}

fn a_cookie_that_is_missing() -> Case {
    let options = modern().key(Cookie::new("session").missing(OnMissing::Anonymous));
    case("requests without the cookie can share one limit", options)
        .ask(get(), first())
        .ask(with(get_from("198.51.100.7"), "cookie", "theme=dark; session="), again())
        .ask(with(get(), "cookie", "session=anonymous"), first())
        .ask(with(get(), "cookie", "session=a"), first())
}

fn a_part_that_is_missing() -> Case {
    let tenant = Header::new("x-tenant").missing(OnMissing::Anonymous);
    let options = modern().key((tenant, ClientIp::new()));
    case("a missing part of a tuple does not change the other parts", options)
        .ask(get(), first())
        .ask(get(), again())
        .ask(get_from("192.0.2.2"), first())
        .ask(with(get_from("192.0.2.2"), "x-tenant", ""), again())
        .ask(with(get(), "x-tenant", "a"), first())
}
