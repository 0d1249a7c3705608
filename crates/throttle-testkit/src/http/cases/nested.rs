//! A layer within another: one limiter, and a rule for each.

use http::{Method, Response};
use throttle_http::{Headers, Options, identity::Header};

use crate::http::{
    answer::{Answer, banned, passed, problem, refused},
    case::{Case, ask_by, get, get_from, get_from_nowhere, get_path, with},
    cases::setup::{every_field, fixed, modern, secs},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        both_are_told(),
        older_fields_around_a_refusal(),
        older_fields_around_a_refusal_without_a_wait(),
        groups_of_each(),
        a_group_of_one(),
        the_outer_is_exempt(),
        the_inner_is_exempt(),
        keys_of_each(),
        without_the_inner_key(),
        without_a_peer(),
        an_answer_of_ones_own(),
        a_dry_run_around_a_refusal(),
        a_dry_run_within(),
        partition_keys(),
        places_within(),
        lists(),
        preflight_and_head(),
    ]
}

const POLICY: &str = r#""inner";q=1;w=60, "outer";q=3;w=3600"#;
const INNER: &str = r#""inner";q=1;w=60"#;
const OUTER: &str = r#""outer";q=3;w=3600"#;

/// Admits three in an hour, of which the layer within admits one in a minute.
fn case(title: &'static str, outer: Options, inner: Options) -> Case {
    Case::new(title, outer.rule("outer"))
        .within(inner.rule("inner"))
        .rule(fixed("outer", 3, secs(3600)))
        .rule(fixed("inner", 1, secs(60)))
}

/// Tells of both rules on one line.
fn both(answer: Answer, outer_left: u64) -> Answer {
    told(answer, 60, outer_left, 3600)
}

fn told(answer: Answer, inner_reset: u64, outer_left: u64, outer_reset: u64) -> Answer {
    let limits = format!(r#""inner";r=0;t={inner_reset}, "outer";r={outer_left};t={outer_reset}"#);
    answer.draft(POLICY, &limits)
}

fn by_inner() -> Answer {
    refused(&["inner"]).retry_after(60)
}

fn both_are_told() -> Case {
    let by_outer = refused(&["outer"]).draft(OUTER, r#""outer";r=0;t=3540"#).retry_after(3540);
    case(
        "one line lists the rules of both, and who refuses says when to come back",
        modern(),
        modern(),
    )
    .ask(get(), both(passed(), 2))
    .ask(get(), both(by_inner(), 1))
    .advance(secs(60))
    .ask(get(), told(passed(), 60, 0, 3540))
    // Both would refuse; the outer one, which waits longest, is asked first.
    .ask(get(), by_outer.clone())
    .ask(get(), by_outer)
    .ask(get_from("192.0.2.2"), told(passed(), 60, 2, 3540))
}

fn older_fields_around_a_refusal() -> Case {
    let outside = |answer: Answer, left| both(answer, left);
    case(
        "the older fields of a layer say nothing beside a refusal by the one within",
        every_field(),
        modern(),
    )
    .ask(get(), outside(passed(), 2).legacy(3, 2, 3600))
    .ask(get(), outside(by_inner(), 1))
}

fn older_fields_around_a_refusal_without_a_wait() -> Case {
    let answer = refused(&["inner"]).draft(POLICY, r#""inner";r=1, "outer";r=2;t=3600"#);
    case("nor beside one that tells of no wait, as none helps", every_field(), modern().cost(2))
        .ask(get(), answer)
}

fn groups_of_each() -> Case {
    case("each group is written once, whichever layers write it", every_field(), every_field())
        .ask(get(), both(passed(), 2).legacy(1, 0, 60))
        .ask(get(), both(by_inner(), 1).legacy(1, 0, 60))
        .ask(get(), both(by_inner(), 0).legacy(1, 0, 60))
        .ask(
            get(),
            refused(&["outer"])
                .draft(OUTER, r#""outer";r=0;t=3600"#)
                .legacy(3, 0, 3600)
                .retry_after(3600),
        )
}

fn a_group_of_one() -> Case {
    let legacy = Options::new().headers(Headers::none().legacy(true));
    let draft = Options::new().headers(Headers::none().draft_10(true));
    case("a layer writes its own groups and no others", legacy, draft)
        .ask(get(), passed().draft(INNER, r#""inner";r=0;t=60"#).legacy(3, 2, 3600))
        .ask(get(), refused(&["inner"]).draft(INNER, r#""inner";r=0;t=60"#))
        .ask(get(), refused(&["inner"]).draft(INNER, r#""inner";r=0;t=60"#))
        .ask(get(), refused(&["outer"]).legacy(3, 0, 3600))
}

fn the_outer_is_exempt() -> Case {
    let outer = modern().exempt(|head| head.path() == "/free");
    case("what is exempt from the outer layer is limited by the inner one", outer, modern())
        .ask(get_path("/free"), passed().draft(INNER, r#""inner";r=0;t=60"#))
        .ask(get_path("/free"), by_inner().draft(INNER, r#""inner";r=0;t=60"#))
        .ask(get(), both(by_inner(), 2))
}

fn the_inner_is_exempt() -> Case {
    let inner = modern().exempt(|head| head.path() == "/free");
    let outer = |left| passed().draft(OUTER, &format!(r#""outer";r={left};t=3600"#));
    case("what is exempt from the inner layer is limited by the outer one", modern(), inner)
        .ask(get_path("/free"), outer(2))
        .ask(get_path("/free"), outer(1))
        .ask(get(), both(passed(), 0))
        .ask(
            get_path("/free"),
            refused(&["outer"]).draft(OUTER, r#""outer";r=0;t=3600"#).retry_after(3600),
        )
}

fn keys_of_each() -> Case {
    let of = |key, peer| with(get_from(peer), "x-api-key", key);
    case("each layer has a key of its own", modern(), modern().key(Header::new("x-api-key")))
        .ask(of("a", "192.0.2.1"), both(passed(), 2))
        .ask(of("b", "192.0.2.1"), both(passed(), 1))
        .ask(of("a", "192.0.2.2"), both(by_inner(), 2))
        .ask(of("c", "192.0.2.2"), both(passed(), 1))
}

fn without_the_inner_key() -> Case {
    let bad = problem(400, "Bad Request", r#"the request lacks the header field \"x-api-key\""#);
    let outer = |left| format!(r#""outer";r={left};t=3600"#);
    case(
        "a bad request is charged by the layer that it passed",
        modern(),
        modern().key(Header::new("x-api-key")),
    )
    .ask(get(), bad.clone().draft(OUTER, &outer(2)))
    .ask(get(), bad.draft(OUTER, &outer(1)))
    .ask(with(get(), "x-api-key", "a"), both(passed(), 0))
}

fn without_a_peer() -> Case {
    let detail = "The server is not configured to tell clients apart.";
    case("where no client is known neither layer charges anybody", modern(), modern())
        .ask(get_from_nowhere(), problem(500, "Internal Server Error", detail))
        .ask(get(), both(passed(), 2))
}

fn an_answer_of_ones_own() -> Case {
    let inner = modern().on_rejection(|_| {
        let response = Response::builder().status(503).header("content-type", "text/plain");
        response.header("retry-after", "7").body("later").unwrap()
    });
    let later = Answer::new(503, "text/plain", "later").not_stored().retry_after(7);
    case("an answer of one's own keeps its Retry-After in the layer around", modern(), inner)
        .ask(get(), both(passed(), 2))
        .ask(get(), both(later, 1))
}

fn a_dry_run_around_a_refusal() -> Case {
    case(
        "a dry run marks what a layer within refuses, and leaves it so",
        modern().dry_run(),
        modern(),
    )
    .ask(get(), both(passed(), 2))
    .ask(get(), both(by_inner(), 1))
    .ask(get(), both(by_inner(), 0))
    .ask(get(), both(by_inner(), 0).dry_run())
}

fn a_dry_run_within() -> Case {
    case("a dry run within marks what it would refuse", modern(), modern().dry_run())
        .ask(get(), both(passed(), 2))
        .ask(get(), both(passed(), 1).dry_run())
        .ask(get(), both(passed(), 0).dry_run())
        .ask(get(), refused(&["outer"]).draft(OUTER, r#""outer";r=0;t=3600"#).retry_after(3600))
}

fn partition_keys() -> Case {
    let headers = Headers::none().draft_10(true).retry_after(true);
    let with_partition = || Options::new().headers(headers.partition_key("0123456789abcdef"));
    let pk = ";pk=:g0ZI9nJMMGoHts6QK8LBDg==:";
    let policy = format!("{INNER}{pk}, {OUTER}");
    let limits = |left| format!(r#""inner";r=0;t=60{pk}, "outer";r={left};t=3600"#);
    case("a partition key is of the layer that writes it", modern(), with_partition())
        .ask(get(), passed().draft(&policy, &limits(2)))
        .ask(get(), by_inner().draft(&policy, &limits(1)))
}

fn places_within() -> Case {
    let uploads = r#""uploads";q=1;qu="concurrent-requests""#;
    let policy = format!("{INNER}, {uploads}, {OUTER}");
    let full = format!("{uploads}, {OUTER}");
    case("places of the layer within are told beside the rules of both", modern(), modern())
        .concurrency("uploads", 1)
        .ask(
            get(),
            passed().draft(&policy, r#""inner";r=0;t=60, "uploads";r=0, "outer";r=2;t=3600"#),
        )
        .begin("192.0.2.1")
        .ask(get(), refused(&["uploads"]).draft(&full, r#""uploads";r=0, "outer";r=1;t=3600"#))
}

fn lists() -> Case {
    case("who is on a list is so in both layers", modern(), modern())
        .change(|limiter| limiter.allow_list().add("192.0.2.1").unwrap())
        .change(|limiter| limiter.deny_list().add("192.0.2.2").unwrap())
        .ask(get(), passed())
        .ask(get(), passed())
        .ask(get_from("192.0.2.2"), banned())
}

fn preflight_and_head() -> Case {
    let origin = with(ask_by(Method::OPTIONS), "origin", "https://example.org");
    let preflight = with(origin, "access-control-request-method", "PUT");
    case(
        "a preflight passes both layers uncharged, HEAD is charged by both",
        modern().exempt_preflight(),
        modern().exempt_preflight(),
    )
    .ask(preflight.clone(), passed())
    .ask(ask_by(Method::HEAD), both(passed(), 2))
    .ask(preflight, passed())
    .ask(ask_by(Method::HEAD), both(by_inner(), 1))
    .ask(ask_by(Method::OPTIONS), both(by_inner(), 0))
}
