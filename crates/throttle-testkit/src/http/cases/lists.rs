//! Clients on the deny list and the allow list.

use http::Response;
use throttle_http::{Headers, Options};

use crate::http::{
    answer::{Answer, allowed, on_deny_list, rejected},
    case::{Case, get, get_from},
    cases::setup::{api, every_field, fixed, secs},
};

pub(super) fn cases() -> Vec<Case> {
    vec![
        denied_temporarily(),
        denied_permanently(),
        denied_permanently_with_a_custom_rejection(),
        denied_in_a_dry_run(),
        on_allow_list(),
        on_both_lists(),
    ]
}

fn denied_temporarily() -> Case {
    let policy = r#""api";q=10;w=60, "web";q=5;w=1"#;
    let denied = |secs: u64| {
        let limits = format!(r#""api";r=0;t={secs}, "web";r=0;t={secs}"#);
        rejected(&["api", "web"]).draft(policy, &limits).legacy(10, 0, secs).retry_after(secs)
    };
    Case::new("a temporary deny list entry is reported with its remaining time", every_field())
        .rule(api(10))
        .rule(fixed("web", 5, secs(1)))
        .change(|limiter| limiter.deny_list().add_for("192.0.2.0/28", secs(90)).unwrap())
        .ask(get(), denied(90))
        .advance(secs(30))
        .ask(get(), denied(60))
        .ask(
            get_from("192.0.2.16"),
            allowed().draft(policy, r#""api";r=9;t=30, "web";r=4;t=1"#).legacy(5, 4, 1),
        )
        .advance(secs(60))
        .ask(get(), allowed().draft(policy, r#""api";r=9;t=30, "web";r=4;t=1"#).legacy(5, 4, 1))
}

fn denied_permanently() -> Case {
    Case::new("a permanent deny list entry is reported without a limit", every_field())
        .rule(api(10))
        .change(|limiter| limiter.deny_list().add("192.0.2.1").unwrap())
        .ask(get(), on_deny_list())
        .ask(get_from("::ffff:192.0.2.1"), on_deny_list())
        .change(|limiter| assert!(limiter.deny_list().remove("192.0.2.1").unwrap()))
        .ask(get(), allowed().draft(r#""api";q=10;w=60"#, r#""api";r=9;t=60"#).legacy(10, 9, 60))
}

fn denied_permanently_with_a_custom_rejection() -> Case {
    let options = every_field().on_rejection(|rejection| {
        let body = if rejection.retry_after().is_none() { "go away" } else { "wait" };
        Response::builder().status(403).header("content-type", "text/plain").body(body).unwrap()
    });
    let waits = Answer::new(403, "text/plain", "wait").not_stored();
    let waits = waits.draft(r#""api";q=10;w=60"#, r#""api";r=0;t=5"#);
    Case::new("a custom rejection is also sent to clients on the deny list", options)
        .rule(api(10))
        .change(|limiter| limiter.deny_list().add("192.0.2.1").unwrap())
        .change(|limiter| limiter.deny_list().add_for("192.0.2.2", secs(5)).unwrap())
        .ask(get(), Answer::new(403, "text/plain", "go away").not_stored())
        .ask(get_from("192.0.2.2"), waits.legacy(10, 0, 5).retry_after(5))
}

fn denied_in_a_dry_run() -> Case {
    let options = Options::new().headers(Headers::none()).dry_run();
    Case::new("a dry run allows clients on the deny list", options)
        .rule(api(10))
        .change(|limiter| limiter.deny_list().add("192.0.2.1").unwrap())
        .ask(get(), allowed().dry_run())
}

fn on_allow_list() -> Case {
    let (policy, limits) = (r#""api";q=1;w=60"#, r#""api";r=0;t=60"#);
    Case::new("a client on the allow list is not charged and gets no fields", every_field())
        .rule(api(1))
        .change(|limiter| limiter.allow_list().add("192.0.2.0/24").unwrap())
        .ask(get(), allowed())
        .ask(get(), allowed())
        .change(|limiter| limiter.allow_list().clear())
        .ask(get(), allowed().draft(policy, limits).legacy(1, 0, 60))
}

fn on_both_lists() -> Case {
    Case::new("a client on both lists is denied", every_field())
        .rule(api(1))
        .change(|limiter| limiter.allow_list().add("192.0.2.0/24").unwrap())
        .change(|limiter| limiter.deny_list().add("192.0.2.1").unwrap())
        .ask(get(), on_deny_list())
        .ask(get_from("192.0.2.2"), allowed())
}
