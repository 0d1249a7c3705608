//! What cannot be used is an error when a middleware is built, and says what to do.

use std::{fmt, sync::Arc};

use throttle_core::{Limiter, Rule, Storage};
use throttle_http::{
    ConfigError, ContentLength, Headers, Options, RequestHead,
    identity::{AsyncKey, ClientIp, Header, Missing},
};

/// Builds middleware of options that cannot be used, and of some that can, and returns how many errors
/// there were. The adapter says how one is built.
///
/// # Panics
///
/// When there is no error, or one that does not say what is wrong; when there is one where there should be
/// none.
pub fn run_mistakes<St: Storage>(
    storage: impl Fn() -> St,
    build: impl Fn(Options, Limiter) -> Result<(), Arc<ConfigError>>,
) -> usize {
    let limiter = || {
        let limiter = Limiter::new(storage());
        for name in ["api", "daily"] {
            limiter.add_rule(Rule::per_day(name, 1)).expect("the rule can be kept");
        }
        limiter
    };
    let mistakes = [rules(), rates(), keys(), others()].concat();
    for (options, words) in &mistakes {
        fails(build(options.clone(), limiter()), words);
    }
    let empty = |options| build(options, Limiter::new(storage()));
    fails(empty(Options::new()), &["has no rules", "add_rule"]);
    fails(empty(Options::new().rule("api")), &["has no rules", "add_rule"]);

    let limiter = limiter();
    let login = |rate: &str| build(Options::new().limit("login", rate), limiter.clone());
    for rate in ["5/minute", "5 per 60 seconds"] {
        assert!(login(rate).is_ok(), "the same rule again: {rate}");
    }
    fails(login("6/minute"), &["\"login\"", "replace_rule"]);
    let declared = Options::new().rules_by(|_, _| "api").declare_rules(["api"]);
    assert!(build(declared, limiter).is_ok(), "a rule that is declared and there");
    mistakes.len() + 3
}

#[track_caller]
fn fails(built: Result<(), Arc<ConfigError>>, words: &[&str]) {
    let Err(error) = built else { panic!("no error has {words:?}") };
    let text = error.to_string();
    for word in words {
        match word.strip_prefix('!') {
            Some(secret) => assert!(!text.contains(secret), "{secret} is in: {text}"),
            None => assert!(text.contains(word), "{word} is not in: {text}"),
        }
    }
}

/// Options, and what the error says of them; what begins with `!` it does not say.
type Mistake = (Options, &'static [&'static str]);

fn rules() -> Vec<Mistake> {
    let plans = Options::new().rules_by(|_, _| "api");
    vec![
        (
            Options::new().rule("api").rule("dayly"),
            &["\"dayly\"", "\"api\"", "\"daily\"", "add_rule"],
        ),
        (Options::new().rule("api").rule("api"), &["stands twice"]),
        (Options::new().limit("web", "5/s").rule("web"), &["stands twice"]),
        (
            plans.declare_rules(["api"]).declare_rules(["gold".to_owned()]),
            &["\"gold\"", "\"api\"", "add_rule"],
        ),
    ]
}

fn rates() -> Vec<Mistake> {
    let login = |rate: &str| Options::new().limit("login", rate);
    vec![
        (login("5 a minute"), &["\"login\"", "\"5 a minute\"", "100/minute"]),
        (login(""), &["\"login\"", "\"\"", "100/minute"]),
        (login("5/fortnight"), &["\"login\"", "\"5/fortnight\"", "100/minute"]),
        (login("0/minute"), &["\"login\"", "limit is 0"]),
        (Options::new().limit("log\nin", "5/minute"), &["name is"]),
    ]
}

fn keys() -> Vec<Mistake> {
    let proxies = || ClientIp::new().trusted_proxies(["10.0.0.0/8", "proxy.internal"]);
    let later = || AsyncKey::new(|_: &RequestHead<'_>| async { Ok::<_, fmt::Error>("key") });
    let missing = later().missing(Missing::ClientIp(proxies()));
    let of_proxy: &[&str] = &["\"proxy.internal\"", "10.0.0.0/8"];
    vec![
        (Options::new().key(proxies()), of_proxy),
        (Options::new().key((Header::new("x-tenant"), proxies())), of_proxy),
        (Options::new().key((missing, ClientIp::new())), of_proxy),
        (Options::new().key(later()).rules_by(|_, _| "api"), &["Keyed::new"]),
    ]
}

fn others() -> Vec<Mistake> {
    let paths = Options::new().exempt_paths(["/ok", "static/*"]).exempt_paths(["/also*"]);
    let secret = Headers::default().partition_key("hunter2");
    vec![
        (paths, &["\"static/*\"", "begin with"]),
        (Options::new().cost(ContentLength::in_units_of(0)), &["0 bytes", "1024"]),
        (Options::new().cost(ContentLength::in_kib().at_most(0)), &["at most 0"]),
        (Options::new().headers(secret), &["7 bytes", "openssl", "!hunter2"]),
    ]
}
