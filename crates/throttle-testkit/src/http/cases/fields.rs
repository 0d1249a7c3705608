//! Header fields of responses.

use std::time::Duration;

use http::{Method, Response};
use throttle_core::{Algorithm, Rule};
use throttle_http::{
    ContentLength, Headers, OnMissingLength, Options, Rejection, identity::Header,
};

use crate::http::{
    answer::{Answer, allowed, rejected},
    case::{Case, ask_by, get, get_from, get_from_nowhere, get_path, with},
    cases::setup::{api, every_field, fixed, modern, secs},
};

const POLICY: &str = r#""api";q=1;w=60"#;
const LIMITS: &str = r#""api";r=0;t=60"#;

pub(super) fn cases() -> Vec<Case> {
    let none = Headers::none();
    let of_defaults = |answer: Answer| answer.draft(POLICY, LIMITS);
    vec![
        chosen(
            "the default writes the draft's fields and Retry-After",
            Options::new(),
            of_defaults,
            60,
        ),
        chosen(
            "`all` writes all groups",
            Options::new().headers(Headers::all()),
            |answer| answer.draft(POLICY, LIMITS).legacy(1, 0, 60),
            60,
        ),
        chosen("`none` writes no group", Options::new().headers(none), |answer| answer, 0),
        chosen(
            "the draft's fields can be written alone",
            Options::new().headers(none.rate_limit(true)),
            |answer| answer.draft(POLICY, LIMITS),
            0,
        ),
        chosen(
            "the field of revision 7 can be written",
            Options::new().headers(none.draft_7(true)),
            |answer| answer.draft_7("limit=1, remaining=0, reset=60"),
            0,
        ),
        chosen(
            "the fields of revision 6 can be written",
            Options::new().headers(none.draft_6(true)),
            |answer| answer.draft_6(1, 0, 60),
            0,
        ),
        chosen(
            "the legacy fields can be written alone",
            Options::new().headers(none.legacy(true)),
            |answer| answer.legacy(1, 0, 60),
            0,
        ),
        chosen(
            "Retry-After can be written alone",
            Options::new().headers(none.retry_after(true)),
            |answer| answer,
            60,
        ),
        exposed_fields(),
        exposed_fields_of_all_groups(),
        exposed_fields_of_a_dry_run(),
        exposed_fields_of_nested_layers(),
        unix_time(),
        a_partition_key(),
        a_partition_key_of_several_rules(),
        a_name_that_needs_escapes(),
        fields_of_the_handler(),
        a_window_under_a_second(),
        a_window_of_a_fractional_second(),
        a_bucket_that_refills_in_less_than_a_second(),
        a_custom_rejection(),
        a_custom_rejection_without_fields(),
        a_rejection_that_caches_may_store(),
        a_dry_run(),
        a_dry_run_without_fields(),
        a_dry_run_without_a_key(),
        a_dry_run_without_a_cost(),
    ]
}

/// Creates a case of an allowed and a rejected request with the given fields.
fn chosen(
    title: &'static str,
    options: Options,
    fields: impl Fn(Answer) -> Answer,
    retry_after: u64,
) -> Case {
    let rejected = match (fields(rejected(&["api"])), retry_after) {
        (rejected, 0) => rejected,
        (rejected, secs) => rejected.retry_after(secs),
    };
    Case::new(title, options).rule(api(1)).ask(get(), fields(allowed())).ask(get(), rejected)
}

fn exposed_fields() -> Case {
    let options = Options::new().headers(Headers::default().cors_expose(true));
    let own = "field=access-control-expose-headers:x-request-id";
    Case::new(
        "written fields are exposed to scripts of other origins",
        options.exempt_health_checks(),
    )
    .rule(api(1))
    .ask(get_path("/health"), allowed())
    .ask(
        with(get(), "x-do", own),
        allowed()
            .draft(POLICY, LIMITS)
            .exposed("x-request-id")
            .exposed("ratelimit, ratelimit-policy"),
    )
    .ask(
        get(),
        rejected(&["api"])
            .draft(POLICY, LIMITS)
            .retry_after(60)
            .exposed("ratelimit, ratelimit-policy, retry-after"),
    )
}

fn exposed_fields_of_all_groups() -> Case {
    let headers = Headers::all().draft_7(true).draft_6(true).cors_expose(true);
    let names = "ratelimit, ratelimit-limit, ratelimit-remaining, ratelimit-reset, x-ratelimit-limit, \
                 x-ratelimit-remaining, x-ratelimit-reset";
    Case::new("fields of all groups are exposed", Options::new().headers(headers)).rule(api(1)).ask(
        get(),
        allowed()
            .draft_7("limit=1, remaining=0, reset=60")
            .draft_6(1, 0, 60)
            .legacy(1, 0, 60)
            .exposed(names),
    )
}

fn exposed_fields_of_a_dry_run() -> Case {
    let options = Options::new().headers(Headers::none().cors_expose(true));
    Case::new("the mark of a dry run is exposed", options.key(Header::new("x-api-key")).dry_run())
        .rule(api(1))
        .ask(get(), allowed().dry_run().exposed("x-ratelimit-dry-run"))
        .ask(with(get(), "x-api-key", "k"), allowed())
        .ask(with(get(), "x-api-key", "k"), allowed().dry_run().exposed("x-ratelimit-dry-run"))
}

fn exposed_fields_of_nested_layers() -> Case {
    let options = || Options::new().headers(Headers::default().cors_expose(true));
    let names = "ratelimit, ratelimit-policy";
    Case::new("nested layers expose their fields", options().rule("b"))
        .inner(options().rule("a"))
        .rule(fixed("a", 1, secs(60)))
        .rule(fixed("b", 1, secs(60)))
        .ask(
            get(),
            allowed()
                .draft(r#""a";q=1;w=60, "b";q=1;w=60"#, r#""a";r=0;t=60, "b";r=0;t=60"#)
                .exposed(names)
                .exposed(names),
        )
}

fn unix_time() -> Case {
    // A bucket, because its window begins with the history, which begins at the current time.
    let rule = Rule::new("api", 1, secs(600)).algorithm(Algorithm::TokenBucket);
    let headers = Headers::none().legacy(true).retry_after(true).legacy_reset_as_unix_time(true);
    Case::new(
        "the legacy reset can be Unix time; Retry-After is always in seconds",
        Options::new().headers(headers),
    )
    .in_real_time()
    .rule(rule)
    .ask(get(), allowed().legacy(1, 0, "start + 600"))
    .ask(get(), rejected(&["api"]).legacy(1, 0, "start + 600").retry_after(600))
}

fn a_name_that_needs_escapes() -> Case {
    let name = r#"a "b" \c; d=1, e"#;
    let quoted = r#""a \"b\" \\c; d=1, e""#;
    let (policy, limits) = (format!("{quoted};q=1;w=60"), format!("{quoted};r=0;t=60"));
    Case::new("quotes and backslashes of a name are escaped in fields and body", modern())
        .rule(fixed(name, 1, secs(60)))
        .ask(get(), allowed().draft(&policy, &limits))
        .ask(get(), rejected(&[name]).draft(&policy, &limits).retry_after(60))
}

fn fields_of_the_handler() -> Case {
    let act = |words: &'static str| with(get(), "x-do", words);
    let limits = |before: &str, left| format!(r#"{before}"api";r={left};t=60"#);
    let draft = |limits: String| allowed().draft(r#""api";q=9;w=60"#, &limits);
    Case::new("list fields of the handler are kept, other fields are replaced", modern())
        .rule(api(9))
        .ask(act(r#"field=ratelimit:"a";r=1"#), draft(limits(r#""a";r=1, "#, 8)))
        .ask(
            act(r#"field=ratelimit:"a";r=1 field=ratelimit:"b""#),
            draft(limits(r#""a";r=1, "b", "#, 7)),
        )
        .ask(act("field=ratelimit:limit=100,remaining=50,reset=30"), draft(limits("", 6)))
        .ask(act(r#"field=ratelimit:"a";r=1 field=ratelimit:limit=9"#), draft(limits("", 5)))
        .ask(act("field=ratelimit:"), draft(limits("", 4)))
        .ask(act(r#"field=ratelimit:"a field=ratelimit-policy:9,"#), draft(limits("", 3)))
}

fn a_window_under_a_second() -> Case {
    let policy = r#""api";q=1"#;
    Case::new("a window of less than a second is omitted", every_field())
        .rule(fixed("api", 1, Duration::from_micros(999_999)))
        .ask(get(), allowed().draft(policy, r#""api";r=0;t=1"#).legacy(1, 0, 1))
        .ask(
            get(),
            rejected(&["api"]).draft(policy, r#""api";r=0;t=1"#).legacy(1, 0, 1).retry_after(1),
        )
}

fn a_window_of_a_fractional_second() -> Case {
    let rule = Rule::new("api", 2, Duration::from_millis(1_001)).algorithm(Algorithm::TokenBucket);
    let policy = r#""api";q=2;w=2"#;
    Case::new("a window of a fractional second is rounded up", modern())
        .rule(rule)
        .ask(get(), allowed().draft(policy, r#""api";r=1;t=1"#))
        .ask(get(), allowed().draft(policy, r#""api";r=0;t=2"#))
        .ask(get(), rejected(&["api"]).draft(policy, r#""api";r=0;t=1"#).retry_after(1))
}

fn a_bucket_that_refills_in_less_than_a_second() -> Case {
    let rule = Rule::per_minute("api", 600).algorithm(Algorithm::LeakyBucket).burst(9);
    let policy = r#""api";q=9"#;
    Case::new("a bucket that refills in less than a second has no window", modern())
        .rule(rule)
        .ask(get(), allowed().draft(policy, r#""api";r=8;t=1"#))
}

fn answer(rejection: &Rejection<'_>) -> Response<String> {
    let decision = rejection.decision().unwrap();
    let body = format!("{}: {:?} of {}", decision.rule(), decision.retry_after(), decision.limit());
    Response::builder().status(418).header("content-type", "text/plain").body(body).unwrap()
}

fn a_custom_rejection() -> Case {
    let answered = Answer::new(418, "text/plain", "api: Some(60s) of 1").not_stored();
    Case::new("a custom rejection gets the fields", every_field().on_rejection(answer))
        .rule(api(1))
        .ask(get(), allowed().draft(POLICY, LIMITS).legacy(1, 0, 60))
        .ask(get(), answered.draft(POLICY, LIMITS).legacy(1, 0, 60).retry_after(60))
}

fn a_custom_rejection_without_fields() -> Case {
    let options = Options::new().headers(Headers::none()).on_rejection(answer);
    Case::new("a custom rejection is not changed if no fields are written", options)
        .rule(api(1))
        .ask(get(), allowed())
        .ask(get(), Answer::new(418, "text/plain", "api: Some(60s) of 1").not_stored())
}

fn a_rejection_that_caches_may_store() -> Case {
    let options = modern().on_rejection(|_| {
        let response = Response::builder().status(429).header("content-type", "text/plain");
        response.header("cache-control", "private, max-age=5").body("later").unwrap()
    });
    let answered = Answer::new(429, "text/plain", "later").stored_as("private, max-age=5");
    Case::new("a custom rejection can set its own Cache-Control", options)
        .rule(api(1))
        .ask(get(), allowed().draft(POLICY, LIMITS))
        .ask(get(), answered.draft(POLICY, LIMITS).retry_after(60))
}

fn a_dry_run() -> Case {
    let all = |answer: Answer| answer.draft(POLICY, LIMITS).legacy(1, 0, 60);
    Case::new(
        "a dry run allows requests that it would reject, and marks them",
        every_field().dry_run(),
    )
    .rule(api(1))
    .ask(get(), all(allowed()))
    .ask(get(), all(allowed()).dry_run())
    .advance(secs(60))
    .ask(get(), all(allowed()))
}

fn a_dry_run_without_fields() -> Case {
    let options = Options::new().headers(Headers::none()).dry_run();
    Case::new("a dry run marks a denial even if no other field is written", options)
        .rule(api(1))
        .ask(get(), allowed())
        .ask(get(), allowed().dry_run())
}

fn a_dry_run_without_a_key() -> Case {
    let options = every_field().key(Header::new("x-api-key")).dry_run();
    Case::new("a dry run allows requests without a key or a peer", options)
        .rule(api(1))
        .ask(get(), allowed().dry_run())
        .ask(get_from_nowhere(), allowed().dry_run())
        .ask(with(get(), "x-api-key", "k"), allowed().draft(POLICY, LIMITS).legacy(1, 0, 60))
}

fn a_dry_run_without_a_cost() -> Case {
    let options =
        every_field().cost(ContentLength::in_kib().missing(OnMissingLength::Reject)).dry_run();
    Case::new("a dry run allows requests without a length", options)
        .rule(api(1))
        .ask(with(ask_by(Method::POST), "transfer-encoding", "chunked"), allowed().dry_run())
        .ask(get(), allowed().draft(POLICY, LIMITS).legacy(1, 0, 60))
}

fn with_partition() -> Options {
    let headers = Headers::none().rate_limit(true).retry_after(true);
    Options::new().headers(headers.partition_key("0123456789abcdef"))
}

fn a_partition_key() -> Case {
    let with_pk = |answer: Answer, pk: &str| {
        answer.draft(&format!("{POLICY};pk=:{pk}:"), &format!("{LIMITS};pk=:{pk}:"))
    };
    // The first half of HMAC-SHA-256 of the key, computed by another program.
    let (one, net) = ("g0ZI9nJMMGoHts6QK8LBDg==", "00PHBPFZ3+7be4FRTkQwgw==");
    Case::new("a partition key identifies a limit and does not reveal the client", with_partition())
        .rule(api(1))
        .ask(get(), with_pk(allowed(), one))
        .ask(get(), with_pk(rejected(&["api"]), one).retry_after(60))
        .ask(get_from("2001:db8:1:2::1"), with_pk(allowed(), net))
        .ask(get_from("2001:db8:1:2::2"), with_pk(rejected(&["api"]), net).retry_after(60))
}

fn a_partition_key_of_several_rules() -> Case {
    let pk = ";pk=:g0ZI9nJMMGoHts6QK8LBDg==:";
    let policy = format!(r#""a \"b\"";q=2;w=60{pk}, "c";q=9{pk}"#);
    let limits = format!(r#""a \"b\"";r=1;t=60{pk}, "c";r=8;t=1{pk}"#);
    Case::new("every rule has the partition key of the request", with_partition())
        .rule(fixed(r#"a "b""#, 2, secs(60)))
        .rule(fixed("c", 9, Duration::from_millis(500)))
        .ask(get(), allowed().draft(&policy, &limits))
}
