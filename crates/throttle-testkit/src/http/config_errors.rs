//! Invalid options are errors when a layer is built. The texts contain the fix.

use std::fmt;

use throttle_core::Rule;
use throttle_http::{
    ContentLength, Headers, Options, RequestHead,
    identity::{AsyncKey, ClientIp, Cookie, Header, OnMissing},
};

use crate::http::{
    adapter::{Adapter, Layer},
    fixture::{Fixture, Limits},
    run::scenarios,
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn config_errors(&self) {
        scenarios!(
            self, "config errors";
            the_errors_of_invalid_options_contain_the_fix,
            a_limiter_without_rules_is_an_error,
            an_equal_rule_can_be_added_again_but_no_other_of_its_name,
        );
    }

    async fn the_errors_of_invalid_options_contain_the_fix(&self) {
        for (options, words) in [rules(), rates(), keys(), others()].concat() {
            self.fails(&self.two_rules(), options, words).await;
        }
    }

    async fn a_limiter_without_rules_is_an_error(&self) {
        for options in [Options::new(), Options::new().rule("api")] {
            self.fails(&self.limits([]), options, &["has no rules", "add_rule"]).await;
        }
    }

    async fn an_equal_rule_can_be_added_again_but_no_other_of_its_name(&self) {
        let limits = self.two_rules();
        for rate in ["5/minute", "5 per 60 seconds"] {
            self.app(&limits, [Options::new().limit("login", rate)]).await;
        }
        let other = Options::new().limit("login", "6/minute");
        self.fails(&limits, other, &["\"login\"", "replace_rule"]).await;
        let declared = Options::new().select_rules(|_, _| "api").declare_rules(["api"]);
        self.app(&limits, [declared]).await;
    }

    fn two_rules(&self) -> Limits {
        self.limits(["api", "daily"].map(|name| Rule::per_day(name, 1)))
    }

    /// Expects an error whose text contains these words, but not those after `!`.
    async fn fails(&self, limits: &Limits, options: Options, words: &[&str]) {
        let Err(error) = self.build(limits, &[Layer::new(&limits.limiter, options)]).await else {
            panic!("the layer was built, expected an error with {words:?}");
        };
        let text = error.to_string();
        for word in words {
            match word.strip_prefix('!') {
                Some(secret) => assert!(!text.contains(secret), "{secret} is in: {text}"),
                None => assert!(text.contains(word), "{word} is not in: {text}"),
            }
        }
    }

    /// Returns the error text of a layer that cannot be built.
    pub(super) async fn error(&self, limits: &Limits, layer: Layer) -> String {
        match self.build(limits, &[layer]).await {
            Ok(_) => panic!("the layer was built, expected an error"),
            Err(error) => error.to_string(),
        }
    }
}

/// Invalid options, and words in the text of the error.
type Invalid = (Options, &'static [&'static str]);

fn rules() -> Vec<Invalid> {
    let plans = Options::new().select_rules(|_, _| "api");
    vec![
        (
            Options::new().rule("api").rule("dayly"),
            &["\"dayly\"", "\"api\"", "\"daily\"", "add_rule"],
        ),
        (Options::new().rule("api").rule("api"), &["named twice"]),
        (Options::new().limit("web", "5/s").rule("web"), &["named twice"]),
        (
            plans.declare_rules(["api"]).declare_rules(["gold".to_owned()]),
            &["\"gold\"", "\"api\"", "add_rule"],
        ),
    ]
}

fn rates() -> Vec<Invalid> {
    let login = |rate: &str| Options::new().limit("login", rate);
    vec![
        (login("5 a minute"), &["\"login\"", "\"5 a minute\"", "100/minute"]),
        (login(""), &["\"login\"", "\"\"", "100/minute"]),
        (login("5/fortnight"), &["\"login\"", "\"5/fortnight\"", "100/minute"]),
        (login("0/minute"), &["\"login\"", "limit is 0"]),
        (Options::new().limit("log\nin", "5/minute"), &["name is"]),
    ]
}

fn keys() -> Vec<Invalid> {
    let proxies = || ClientIp::new().trusted_proxies(["10.0.0.0/8", "proxy.internal"]);
    let later = || AsyncKey::new(|_: &RequestHead<'_>| async { Ok::<_, fmt::Error>("key") });
    let bad: &[&str] = &["is not a valid"];
    let missing = later().missing(OnMissing::ClientIp(proxies()));
    let of_proxy: &[&str] = &["\"proxy.internal\"", "10.0.0.0/8"];
    vec![
        (Options::new().key(proxies()), of_proxy),
        (Options::new().key((Header::new("x-tenant"), proxies())), of_proxy),
        (Options::new().key((missing, ClientIp::new())), of_proxy),
        (Options::new().key(ClientIp::new().ipv6_prefix(0)), &["ipv6_prefix(0)", "1 to 128"]),
        (Options::new().key((Header::new("x-tenant"), ClientIp::new().ipv6_prefix(200))), &["200"]),
        (Options::new().key(Header::new("x api")), bad),
        (Options::new().key((Cookie::new("a=b"), ClientIp::new())), bad),
        (Options::new().key(Cookie::new("a\0")), bad),
        (Options::new().key(Cookie::new("a\r\nb")), bad),
        (Options::new().key(later()).select_rules(|_, _| "api"), &["KeyWithRules::new"]),
    ]
}

fn others() -> Vec<Invalid> {
    let paths = Options::new().exempt_paths(["/ok", "static/*"]).exempt_paths(["/also*"]);
    let secret = Headers::default().partition_key("hunter2");
    vec![
        (paths, &["\"static/*\"", "begin with"]),
        (Options::new().methods([]), &["`methods`", "no request"]),
        (Options::new().exempt_paths(["/größe"]), &["\"/größe\"", "\"/gr%C3%B6%C3%9Fe\""]),
        (
            Options::new().exempt_paths(["/users/{id}"]),
            &["\"/users/{id}\"", "\"/users/*\"", "`exempt`"],
        ),
        (Options::new().cost(ContentLength::in_units_of(0)), &["0 bytes", "1024"]),
        (Options::new().cost(ContentLength::in_kib().at_most(0)), &["at most 0"]),
        (Options::new().headers(secret), &["7 bytes", "openssl", "!hunter2"]),
    ]
}
