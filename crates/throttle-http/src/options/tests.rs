use http::Request;
use throttle_core::{AskKind, Decisions, Key, Limiter, Rule};
use throttle_memory::MemoryStorage;

use super::*;
use crate::{
    identity::Header,
    rejection::Rejected,
    throttle::{Pass, Throttle},
};

fn cost(cost: impl ExtractCost) -> u64 {
    let request = Request::post("/report").header("x-cost", "7").body(()).unwrap();
    cost.cost(&RequestHead::new(&request, None))
}

#[test]
fn a_cost_is_a_number_of_any_type_that_a_literal_has() {
    assert_eq!((cost(3), cost(3_u32), cost(3_u64)), (3, 3, 3));
    assert_eq!((cost(i32::MAX), cost(u64::MAX)), (2_147_483_647, u64::MAX));
}

#[test]
fn a_number_that_would_disable_the_limit_is_an_error() {
    let errors =
        [0.validate(), (-1).validate(), i32::MIN.validate(), 0_u32.validate(), 0_u64.validate()];
    for (error, number) in errors.into_iter().zip([0, -1, i32::MIN, 0, 0]) {
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with(&format!("a cost of {number} is invalid")), "{error}");
    }
    assert_eq!((1.validate(), u32::MAX.validate(), u64::MAX.validate()), (Ok(()), Ok(()), Ok(())));
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_minute("api", 1)).unwrap();
    let error = Throttle::new(limiter, Options::new().cost(0)).unwrap_err();
    assert!(matches!(error, crate::ConfigError::InvalidCost(_)), "{error}");
}

#[test]
fn a_cost_is_a_function_of_the_request() {
    fn by_field(head: &RequestHead<'_>) -> u64 {
        head.header("x-cost").and_then(|cost| cost.parse().ok()).unwrap_or(1)
    }
    assert_eq!(cost(by_field), 7);
    let factor = 2;
    assert_eq!(cost(move |head: &RequestHead<'_>| factor * head.path().len() as u64), 14);
}

#[test]
fn every_rule_applies_by_default_and_otherwise_the_named_ones_in_order() {
    assert_eq!(Options::new().selection, Selection::All);
    let options = Options::default().rule("b").limit("a", "1/s").rule("c");
    let names = ["b", "a", "c"].map(str::to_owned).to_vec();
    assert_eq!(options.selection, Selection::Named(names));
    assert_eq!(options.added, [("a".to_owned(), "1/s".to_owned())]);
}

#[test]
fn a_repeated_option_replaces_the_value_or_adds_to_the_list() {
    let options = Options::new()
        .methods([Method::GET])
        .methods([Method::PUT, Method::POST])
        .headers(Headers::all())
        .headers(Headers::none())
        .exempt(|_| false)
        .exempt(|_| true)
        .cost(1)
        .cost(2);
    assert_eq!(options.methods, Some(vec![Method::PUT, Method::POST]));
    assert_eq!((options.headers, options.exempt.len()), (Headers::none(), 2));
    let request = Request::new(());
    let head = RequestHead::new(&request, None);
    assert_eq!(options.cost.map(|cost| cost.cost(&head)), Some(2));
}

#[test]
fn a_change_of_a_clone_leaves_the_original() {
    let original = Options::new().rule("a");
    let clone = original.clone().rule("b").dry_run();
    assert_eq!(original.selection, Selection::Named(vec!["a".to_owned()]));
    assert!(!original.dry_run && clone.dry_run);
}

#[test]
fn debug_output_shows_names_and_no_functions() {
    let shown = format!("{:?}", Options::new().limit("login", "5/minute").exempt(|_| true));
    assert!(shown.contains("login") && shown.contains("5/minute"), "{shown}");
}

/// Checks a request from a fixed address, as an adapter does.
fn check(throttle: &Arc<Throttle>) -> Result<Pass, Rejected> {
    let request = Request::new(());
    let reply = throttle.check(&RequestHead::new(&request, Some([192, 0, 2, 1].into())));
    reply.into_ready().expect("memory is ready immediately")
}

#[test]
fn a_rejection_has_the_decision_that_is_reported_and_all_others() {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("a", 9)).unwrap();
    limiter.add_rule(Rule::per_day("b", 1)).unwrap();
    let options = Options::new().response_extension(true).on_rejection(|rejection| {
        let (decision, decisions) = rejection.decision().zip(rejection.decisions()).unwrap();
        assert_eq!((decision.rule(), decision.is_allowed()), ("b", false));
        let names = decisions.all().iter().map(|one| one.rule());
        Response::new(names.collect::<Vec<_>>().join(" "))
    });
    let throttle = Arc::new(Throttle::new(limiter, options).unwrap());
    assert!(check(&throttle).is_ok());
    let rejected = check(&throttle).unwrap_err();
    let response = throttle.respond(rejected, &RequestHead::new(&Request::new(()), None));
    assert_eq!(response.body(), "a b");
    assert!(response.extensions().get::<Decisions>().is_some());
}

#[test]
fn a_throttle_adds_its_rules_to_the_limiter_and_keeps_the_existing_ones() {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("a", 1)).unwrap();
    let options = Options::new().limit("b", "1/s");
    let throttle = Arc::new(Throttle::new(limiter.clone(), options).unwrap());
    let names: Vec<_> = limiter.rules().iter().map(|rule| rule.name().to_owned()).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(check(&throttle).is_ok());
    let left = |name| {
        let key = Key::from("192.0.2.1");
        let reply = limiter.begin(&key, Some(&[name]), None, AskKind::Peek);
        reply.into_ready().expect("memory").unwrap().most_restrictive().remaining()
    };
    assert_eq!(left("a"), 1, "only the named rule is charged");
}

#[test]
fn on_rejection_sees_the_address_that_the_option_peer_finds() {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("a", 1)).unwrap();
    let options = Options::new()
        .peer(|_| Some(([192, 0, 2, 7], 50_000).into()))
        .on_rejection(|rejection| Response::new(format!("{:?}", rejection.head().peer())));
    let throttle = Arc::new(Throttle::new(limiter, options).unwrap());
    let request = Request::new(());
    let head = RequestHead::new(&request, None);
    let check = || throttle.check(&head).into_ready().expect("memory answers at once");
    assert!(check().is_ok());
    let response = throttle.respond(check().unwrap_err(), &head);
    assert_eq!(response.body(), "Some(192.0.2.7)");
}

#[test]
fn heads_and_rejections_show_no_header_fields_and_no_target() {
    let limiter = Limiter::new(MemoryStorage::new());
    limiter.add_rule(Rule::per_day("a", 1)).unwrap();
    let options = Options::new()
        .key(Header::new("x-tenant"))
        .on_rejection(|rejection| Response::new(format!("{rejection:?}")));
    let throttle = Arc::new(Throttle::new(limiter, options).unwrap());
    let request =
        Request::get("/?token=canary").header("authorization", "canary").body(()).unwrap();
    let head = RequestHead::new(&request, None);
    let rejected = throttle.check(&head).into_ready().expect("memory answers at once");
    let rejection = throttle.respond(rejected.unwrap_err(), &head).into_body();
    let response = ResponseHead::new(http::StatusCode::OK, request.headers());
    let shown = format!("{head:?} {response:?} {rejection:?}");
    assert!(shown.contains("x-tenant") && shown.contains("GET"), "{shown}");
    assert!(!shown.contains("canary"), "{shown}");
}
