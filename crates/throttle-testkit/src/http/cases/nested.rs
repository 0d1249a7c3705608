//! Nested layers with one limiter and different rules.

use http::{Method, Response};
use throttle_http::{Headers, Options, identity::Header};

use crate::http::{
    answer::{Answer, allowed, on_deny_list, problem, rejected},
    case::{Case, ask_by, get, get_from, get_from_nowhere, get_path, with},
    cases::setup::{every_field, fixed, modern, secs},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        both_are_reported(),
        legacy_fields_around_a_rejection(),
        legacy_fields_around_a_rejection_without_a_wait(),
        groups_of_each(),
        a_group_of_one(),
        older_revisions(),
        the_outer_is_exempt(),
        the_inner_is_exempt(),
        keys_of_each(),
        without_the_inner_key(),
        without_a_peer(),
        a_custom_rejection(),
        a_dry_run_around_a_rejection(),
        an_inner_dry_run(),
        partition_keys(),
        inner_permits(),
        lists(),
        preflight_and_head(),
    ]
}

const POLICY: &str = r#""inner";q=1;w=60, "outer";q=3;w=3600"#;
const INNER: &str = r#""inner";q=1;w=60"#;
const OUTER: &str = r#""outer";q=3;w=3600"#;

/// Creates a case in which the outer layer allows three per hour, and the inner layer one per minute.
fn case(title: &'static str, outer: Options, inner: Options) -> Case {
    Case::new(title, outer.rule("outer"))
        .inner(inner.rule("inner"))
        .rule(fixed("outer", 3, secs(3600)))
        .rule(fixed("inner", 1, secs(60)))
}

/// Adds the fields of both rules.
fn both(answer: Answer, outer_left: u64) -> Answer {
    report(answer, 60, outer_left, 3600)
}

fn report(answer: Answer, inner_reset: u64, outer_left: u64, outer_reset: u64) -> Answer {
    let limits = format!(r#""inner";r=0;t={inner_reset}, "outer";r={outer_left};t={outer_reset}"#);
    answer.draft(POLICY, &limits)
}

fn by_inner() -> Answer {
    rejected(&["inner"]).retry_after(60)
}

fn both_are_reported() -> Case {
    let by_outer = rejected(&["outer"]).draft(OUTER, r#""outer";r=0;t=3540"#).retry_after(3540);
    case(
        "one line lists the rules of both, and Retry-After is that of the rejecting layer",
        modern(),
        modern(),
    )
    .ask(get(), both(allowed(), 2))
    .ask(get(), both(by_inner(), 1))
    .advance(secs(60))
    .ask(get(), report(allowed(), 60, 0, 3540))
    // Both would reject. The outer layer is checked first.
    .ask(get(), by_outer.clone())
    .ask(get(), by_outer)
    .ask(get_from("192.0.2.2"), report(allowed(), 60, 2, 3540))
}

fn legacy_fields_around_a_rejection() -> Case {
    let outside = |answer: Answer, left| both(answer, left);
    case(
        "the outer layer adds no legacy fields to a rejection by the inner layer",
        every_field(),
        modern(),
    )
    .ask(get(), outside(allowed(), 2).legacy(3, 2, 3600))
    .ask(get(), outside(by_inner(), 1))
}

fn legacy_fields_around_a_rejection_without_a_wait() -> Case {
    let answer = rejected(&["inner"]).draft(POLICY, r#""inner";r=1, "outer";r=2;t=3600"#);
    case(
        "the outer layer adds no legacy fields to a rejection without a wait",
        every_field(),
        modern().cost(2),
    )
    .ask(get(), answer)
}

fn groups_of_each() -> Case {
    case(
        "each group of fields is written once if both layers write it",
        every_field(),
        every_field(),
    )
    .ask(get(), both(allowed(), 2).legacy(1, 0, 60))
    .ask(get(), both(by_inner(), 1).legacy(1, 0, 60))
    .ask(get(), both(by_inner(), 0).legacy(1, 0, 60))
    .ask(
        get(),
        rejected(&["outer"])
            .draft(OUTER, r#""outer";r=0;t=3600"#)
            .legacy(3, 0, 3600)
            .retry_after(3600),
    )
}

fn a_group_of_one() -> Case {
    let legacy = Options::new().headers(Headers::none().legacy(true));
    let draft = Options::new().headers(Headers::none().rate_limit(true));
    case("each layer writes only its own groups of fields", legacy, draft)
        .ask(get(), allowed().draft(INNER, r#""inner";r=0;t=60"#).legacy(3, 2, 3600))
        .ask(get(), rejected(&["inner"]).draft(INNER, r#""inner";r=0;t=60"#))
        .ask(get(), rejected(&["inner"]).draft(INNER, r#""inner";r=0;t=60"#))
        .ask(get(), rejected(&["outer"]).legacy(3, 0, 3600))
}

fn older_revisions() -> Case {
    let older = || Options::new().headers(Headers::none().draft_7(true).draft_6(true));
    let reported = |answer: Answer, left| {
        answer.draft_7(&format!("limit=1, remaining={left}, reset=60")).draft_6(1, left, 60)
    };
    case("fields of older revisions report the rule of the inner layer", older(), older())
        .ask(get(), reported(allowed(), 0))
        .ask(get(), reported(rejected(&["inner"]), 0))
}

fn the_outer_is_exempt() -> Case {
    let outer = modern().exempt(|head| head.path() == "/free");
    case(
        "a request that is exempt in the outer layer is limited by the inner layer",
        outer,
        modern(),
    )
    .ask(get_path("/free"), allowed().draft(INNER, r#""inner";r=0;t=60"#))
    .ask(get_path("/free"), by_inner().draft(INNER, r#""inner";r=0;t=60"#))
    .ask(get(), both(by_inner(), 2))
}

fn the_inner_is_exempt() -> Case {
    let inner = modern().exempt(|head| head.path() == "/free");
    let outer = |left| allowed().draft(OUTER, &format!(r#""outer";r={left};t=3600"#));
    case(
        "a request that is exempt in the inner layer is limited by the outer layer",
        modern(),
        inner,
    )
    .ask(get_path("/free"), outer(2))
    .ask(get_path("/free"), outer(1))
    .ask(get(), both(allowed(), 0))
    .ask(
        get_path("/free"),
        rejected(&["outer"]).draft(OUTER, r#""outer";r=0;t=3600"#).retry_after(3600),
    )
}

fn keys_of_each() -> Case {
    let of = |key, peer| with(get_from(peer), "x-api-key", key);
    case("each layer has its own key", modern(), modern().key(Header::new("x-api-key")))
        .ask(of("a", "192.0.2.1"), both(allowed(), 2))
        .ask(of("b", "192.0.2.1"), both(allowed(), 1))
        .ask(of("a", "192.0.2.2"), both(by_inner(), 2))
        .ask(of("c", "192.0.2.2"), both(allowed(), 1))
}

fn without_the_inner_key() -> Case {
    let bad = problem(
        400,
        "Bad Request",
        r#"the request has no header field \"x-api-key\", or it is empty"#,
    );
    let outer = |left| format!(r#""outer";r={left};t=3600"#);
    case(
        "a bad request is charged by the layer that allowed it",
        modern(),
        modern().key(Header::new("x-api-key")),
    )
    .ask(get(), bad.clone().draft(OUTER, &outer(2)))
    .ask(get(), bad.draft(OUTER, &outer(1)))
    .ask(with(get(), "x-api-key", "a"), both(allowed(), 0))
}

fn without_a_peer() -> Case {
    let detail = "The server is not configured to tell clients apart.";
    case("without a peer address neither layer charges", modern(), modern())
        .ask(get_from_nowhere(), problem(500, "Internal Server Error", detail))
        .ask(get(), both(allowed(), 2))
}

fn a_custom_rejection() -> Case {
    let inner = modern().on_rejection(|_| {
        let response = Response::builder().status(503).header("content-type", "text/plain");
        response.header("retry-after", "7").body("later").unwrap()
    });
    let later = Answer::new(503, "text/plain", "later").not_stored().retry_after(7);
    case("a custom rejection keeps its Retry-After in the outer layer", modern(), inner)
        .ask(get(), both(allowed(), 2))
        .ask(get(), both(later, 1))
}

fn a_dry_run_around_a_rejection() -> Case {
    case(
        "an outer dry run marks a rejection by the inner layer and does not change it",
        modern().dry_run(),
        modern(),
    )
    .ask(get(), both(allowed(), 2))
    .ask(get(), both(by_inner(), 1))
    .ask(get(), both(by_inner(), 0))
    .ask(get(), both(by_inner(), 0).dry_run())
}

fn an_inner_dry_run() -> Case {
    case("an inner dry run marks requests that it would reject", modern(), modern().dry_run())
        .ask(get(), both(allowed(), 2))
        .ask(get(), both(allowed(), 1).dry_run())
        .ask(get(), both(allowed(), 0).dry_run())
        .ask(get(), rejected(&["outer"]).draft(OUTER, r#""outer";r=0;t=3600"#).retry_after(3600))
}

fn partition_keys() -> Case {
    let headers = Headers::none().rate_limit(true).retry_after(true);
    let with_partition = || Options::new().headers(headers.partition_key("0123456789abcdef"));
    let pk = ";pk=:g0ZI9nJMMGoHts6QK8LBDg==:";
    let policy = format!("{INNER}{pk}, {OUTER}");
    let limits = |left| format!(r#""inner";r=0;t=60{pk}, "outer";r={left};t=3600"#);
    case("a partition key applies to the layer that sets it", modern(), with_partition())
        .ask(get(), allowed().draft(&policy, &limits(2)))
        .ask(get(), by_inner().draft(&policy, &limits(1)))
}

fn inner_permits() -> Case {
    let uploads = r#""uploads";q=1;qu="concurrent-requests""#;
    let policy = format!("{INNER}, {uploads}, {OUTER}");
    let full = format!("{uploads}, {OUTER}");
    case(
        "the permits of the inner layer are reported with the rules of both layers",
        modern(),
        modern(),
    )
    .concurrency("uploads", 1)
    .ask(get(), allowed().draft(&policy, r#""inner";r=0;t=60, "uploads";r=0, "outer";r=2;t=3600"#))
    .begin("192.0.2.1")
    .ask(get(), rejected(&["uploads"]).draft(&full, r#""uploads";r=0, "outer";r=1;t=3600"#))
}

fn lists() -> Case {
    case("a list applies to both layers", modern(), modern())
        .change(|limiter| limiter.allow_list().add("192.0.2.1").unwrap())
        .change(|limiter| limiter.deny_list().add("192.0.2.2").unwrap())
        .ask(get(), allowed())
        .ask(get(), allowed())
        .ask(get_from("192.0.2.2"), on_deny_list())
}

fn preflight_and_head() -> Case {
    let origin = with(ask_by(Method::OPTIONS), "origin", "https://example.org");
    let preflight = with(origin, "access-control-request-method", "PUT");
    case(
        "both layers exempt a preflight and charge HEAD",
        modern().exempt_preflight(),
        modern().exempt_preflight(),
    )
    .ask(preflight.clone(), allowed())
    .ask(ask_by(Method::HEAD), both(allowed(), 2))
    .ask(preflight, allowed())
    .ask(ask_by(Method::HEAD), both(by_inner(), 1))
    .ask(ask_by(Method::OPTIONS), both(by_inner(), 0))
}
