//! Requests of gRPC clients.

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use throttle_core::Limiter;
use throttle_http::identity::Header;

use crate::http::{
    answer::{Answer, allowed, grpc, rejected},
    case::{Case, ask_by, get_from_nowhere, with},
    cases::setup::{api, modern},
};

const POLICY: &str = r#""api";q=1;w=60"#;
const LIMITS: &str = r#""api";r=0;t=60"#;
const USED_UP: &str = r#"the limit "api" is used up; retry in 60s"#;
/// The details of code 8: a `RetryInfo` of 60 s, and a `QuotaFailure` of the rule.
const DETAILS: &str = "CAgSKHRoZSBsaW1pdCAiYXBpIiBpcyB1c2VkIHVwOyByZXRyeSBpbiA2MHMaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIPBpZCit0eXBlLmdvb2dsZWFwaXMuY29tL2dvb2dsZS5ycGMuUXVvdGFGYWlsdXJlEioKKBIfdGhlIGxpbWl0ICJhcGkiIGFsbG93cyAxIGluIDYwcyoDYXBpOAE";
/// The details of code 14 with a custom text: a `RetryInfo` of 60 s.
const OWN_DETAILS: &str = "CA4SHm92ZXIgMTAwICUg4oCTIGNvbWUgYmFjayBsYXRlchowCih0eXBlLmdvb2dsZWFwaXMuY29tL2dvb2dsZS5ycGMuUmV0cnlJbmZvEgQKAgg8";

pub(super) fn cases() -> Vec<Case> {
    vec![
        denied(),
        kinds(),
        no_grpc(),
        on_deny_list(),
        no_metadata(),
        no_peer(),
        custom_rejection(),
        custom_status(),
        dry_run(),
        health(),
        reflection(),
    ]
}

/// Builds a call of a method with a content type.
fn call(content_type: &'static str) -> Request<Bytes> {
    call_path("/shop.v1.Cart/Add", content_type)
}

fn call_path(path: &'static str, content_type: &'static str) -> Request<Bytes> {
    let mut request = with(ask_by(Method::POST), "content-type", content_type);
    *request.uri_mut() = path.parse().unwrap();
    request
}

const GRPC: &str = "application/grpc";

fn exhausted(content_type: &'static str) -> Answer {
    grpc(content_type, 8, USED_UP).details(DETAILS).draft(POLICY, LIMITS).retry_after(60)
}

fn denied() -> Case {
    Case::new("a gRPC client is rejected with RESOURCE_EXHAUSTED", modern())
        .rule(api(1))
        .ask(call(GRPC), allowed().draft(POLICY, LIMITS))
        .ask(call(GRPC), exhausted(GRPC))
}

fn kinds() -> Case {
    Case::new("every kind of gRPC gets a rejection of its kind", modern())
        .rule(api(1))
        .ask(call("application/grpc+proto"), allowed().draft(POLICY, LIMITS))
        .ask(call("application/grpc+proto"), exhausted(GRPC))
        .ask(call("Application/gRPC; charset=utf-8"), exhausted(GRPC))
        .ask(call("application/grpc-web"), exhausted("application/grpc-web+proto"))
        .ask(call("application/grpc-web+proto"), exhausted("application/grpc-web+proto"))
        .ask(call("application/grpc-web-text"), exhausted("application/grpc-web-text+proto"))
}

fn no_grpc() -> Case {
    let rejected = rejected(&["api"]).draft(POLICY, LIMITS).retry_after(60);
    let get = with(ask_by(Method::GET), "content-type", GRPC);
    Case::new("requests that only resemble gRPC get a normal rejection", modern())
        .rule(api(1))
        .ask(call("application/grpcx"), allowed().draft(POLICY, LIMITS))
        .ask(call("application/grpcx"), rejected.clone())
        .ask(call("application/json"), rejected.clone())
        .ask(call("text/plain; application/grpc"), rejected.clone())
        .ask(ask_by(Method::POST), rejected.clone())
        .ask(get, rejected)
}

fn on_deny_list() -> Case {
    let deny = |limiter: &Limiter| {
        limiter.deny_list().add("192.0.2.1").unwrap();
    };
    let message = "This client may not use the service.";
    Case::new("a gRPC client on the deny list is rejected with PERMISSION_DENIED", modern())
        .rule(api(1))
        .change(deny)
        .ask(call(GRPC), grpc(GRPC, 7, message))
}

fn no_metadata() -> Case {
    let message = r#"the request has no header field "x-api-key", or it is empty"#;
    let keyed = |key: &str| with(call(GRPC), "x-api-key", key);
    Case::new(
        "a call without its metadata is rejected with INVALID_ARGUMENT",
        modern().key(Header::new("x-api-key")),
    )
    .rule(api(1))
    .ask(call(GRPC), grpc(GRPC, 3, message))
    .ask(keyed("a"), allowed().draft(POLICY, LIMITS))
    .ask(keyed("a"), exhausted(GRPC))
    .ask(keyed("b"), allowed().draft(POLICY, LIMITS))
}

fn no_peer() -> Case {
    let mut nowhere = with(get_from_nowhere(), "content-type", GRPC);
    *nowhere.method_mut() = Method::POST;
    let message = "The server is not configured to tell clients apart.";
    Case::new("a call without a peer address is rejected with INTERNAL", modern())
        .rule(api(1))
        .ask(nowhere, grpc(GRPC, 13, message))
}

fn custom_rejection() -> Case {
    let options = modern().on_rejection(|_| {
        let mut response = Response::new("over 100 % – come back later");
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        response
    });
    let message = "over 100 %25 %E2%80%93 come back later";
    let answer = grpc(GRPC, 14, message).details(OWN_DETAILS).draft(POLICY, LIMITS).retry_after(60);
    Case::new("a custom rejection is translated to gRPC, including its text", options)
        .rule(api(1))
        .ask(call(GRPC), allowed().draft(POLICY, LIMITS))
        .ask(call(GRPC), answer)
}

fn custom_status() -> Case {
    let options = modern().on_rejection(|_| {
        let response = Response::builder().header("content-type", GRPC).header("grpc-status", 9);
        response.body("").unwrap()
    });
    let answer = Answer::new(200, GRPC, "").status(9).draft(POLICY, LIMITS).retry_after(60);
    Case::new("a custom rejection with a gRPC status is sent unchanged", options)
        .rule(api(1))
        .ask(call(GRPC), allowed().draft(POLICY, LIMITS))
        .ask(call(GRPC), answer)
}

fn dry_run() -> Case {
    Case::new("a dry run allows and marks a gRPC call", modern().dry_run())
        .rule(api(1))
        .ask(call(GRPC), allowed().draft(POLICY, LIMITS))
        .ask(call(GRPC), allowed().draft(POLICY, LIMITS).dry_run())
}

fn health() -> Case {
    let check = || call_path("/grpc.health.v1.Health/Check", GRPC);
    Case::new("the health service is not charged if it is exempt", modern().exempt_grpc_health())
        .rule(api(1))
        .ask(check(), allowed())
        .ask(call_path("/grpc.health.v1.Health/Watch", GRPC), allowed())
        .ask(call(GRPC), allowed().draft(POLICY, LIMITS))
        .ask(check(), allowed())
        .ask(call_path("/grpc.health.v1.Healthy/Check", GRPC), exhausted(GRPC))
        .ask(call_path("/shop.v1/grpc.health.v1.Health/Check", GRPC), exhausted(GRPC))
        .ask(
            call_path("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", GRPC),
            exhausted(GRPC),
        )
}

fn reflection() -> Case {
    let info = || call_path("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", GRPC);
    let alpha =
        || call_path("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", GRPC);
    Case::new(
        "the reflection service is not charged if it is exempt",
        modern().exempt_grpc_reflection(),
    )
    .rule(api(1))
    .ask(info(), allowed())
    .ask(alpha(), allowed())
    .ask(call(GRPC), allowed().draft(POLICY, LIMITS))
    .ask(alpha(), allowed())
    .ask(call_path("/grpc.health.v1.Health/Check", GRPC), exhausted(GRPC))
}
