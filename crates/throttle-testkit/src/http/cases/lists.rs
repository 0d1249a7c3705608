//! Clients that never pass, and clients that always do.

use http::Response;
use throttle_http::{Headers, Options};

use crate::http::{
    answer::{Answer, banned, passed, refused},
    case::{Case, get, get_from},
    cases::setup::{api, every_field, fixed, secs},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        denied_for_a_time(),
        denied_for_good(),
        denied_for_good_with_an_answer_of_ones_own(),
        denied_in_a_dry_run(),
        allowed(),
        on_both_lists(),
    ]
}

fn denied_for_a_time() -> Case {
    let policy = r#""api";q=10;w=60, "web";q=5;w=1"#;
    let denied = |secs: u64| {
        let limits = format!(r#""api";r=0;t={secs}, "web";r=0;t={secs}"#);
        refused(&["api", "web"]).draft(policy, &limits).legacy(10, 0, secs).retry_after(secs)
    };
    Case::new("a client that is denied for a time is told how long", every_field())
        .rule(api(10))
        .rule(fixed("web", 5, secs(1)))
        .change(|limiter| limiter.deny_list().add_for("192.0.2.0/28", secs(90)).unwrap())
        .ask(get(), denied(90))
        .advance(secs(30))
        .ask(get(), denied(60))
        .ask(
            get_from("192.0.2.16"),
            passed().draft(policy, r#""api";r=9;t=30, "web";r=4;t=1"#).legacy(5, 4, 1),
        )
        .advance(secs(60))
        .ask(get(), passed().draft(policy, r#""api";r=9;t=30, "web";r=4;t=1"#).legacy(5, 4, 1))
}

fn denied_for_good() -> Case {
    Case::new("a client that is denied for good is told of no limit", every_field())
        .rule(api(10))
        .change(|limiter| limiter.deny_list().add("192.0.2.1").unwrap())
        .ask(get(), banned())
        .ask(get_from("::ffff:192.0.2.1"), banned())
        .change(|limiter| assert!(limiter.deny_list().remove("192.0.2.1").unwrap()))
        .ask(get(), passed().draft(r#""api";q=10;w=60"#, r#""api";r=9;t=60"#).legacy(10, 9, 60))
}

fn denied_for_good_with_an_answer_of_ones_own() -> Case {
    let options = every_field().on_rejection(|rejection| {
        let body = if rejection.retry_after().is_none() { "go away" } else { "wait" };
        Response::builder().status(403).header("content-type", "text/plain").body(body).unwrap()
    });
    let waits = Answer::new(403, "text/plain", "wait").not_stored();
    let waits = waits.draft(r#""api";q=10;w=60"#, r#""api";r=0;t=5"#);
    Case::new("an answer of one's own goes to those who are denied, too", options)
        .rule(api(10))
        .change(|limiter| limiter.deny_list().add("192.0.2.1").unwrap())
        .change(|limiter| limiter.deny_list().add_for("192.0.2.2", secs(5)).unwrap())
        .ask(get(), Answer::new(403, "text/plain", "go away").not_stored())
        .ask(get_from("192.0.2.2"), waits.legacy(10, 0, 5).retry_after(5))
}

fn denied_in_a_dry_run() -> Case {
    let options = Options::new().headers(Headers::none()).dry_run();
    Case::new("a dry run lets pass who is denied for good", options)
        .rule(api(10))
        .change(|limiter| limiter.deny_list().add("192.0.2.1").unwrap())
        .ask(get(), passed().dry_run())
}

fn allowed() -> Case {
    let (policy, limits) = (r#""api";q=1;w=60"#, r#""api";r=0;t=60"#);
    Case::new("a client that is allowed passes uncharged and is told nothing", every_field())
        .rule(api(1))
        .change(|limiter| limiter.allow_list().add("192.0.2.0/24").unwrap())
        .ask(get(), passed())
        .ask(get(), passed())
        .change(|limiter| limiter.allow_list().clear())
        .ask(get(), passed().draft(policy, limits).legacy(1, 0, 60))
}

fn on_both_lists() -> Case {
    Case::new("a client on both lists is denied", every_field())
        .rule(api(1))
        .change(|limiter| limiter.allow_list().add("192.0.2.0/24").unwrap())
        .change(|limiter| limiter.deny_list().add("192.0.2.1").unwrap())
        .ask(get(), banned())
        .ask(get_from("192.0.2.2"), passed())
}
