//! Configuration errors of a layer: an error when it is built, otherwise a response with 500 and a log line.

use bytes::Bytes;
use http::Response;
use throttle_core::Rule;
use throttle_http::{ConfigError, Headers, Options};

use crate::{
    Log,
    http::{
        adapter::{Adapter, Layer},
        case::{get, get_from_nowhere, with},
        fixture::{Fixture, api, field},
        run::scenarios,
    },
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn config(&self) {
        scenarios!(
            self, "config";
            a_layer_of_a_rule_alone_counts_in_memory,
            the_error_of_an_invalid_rule_names_the_setting,
            a_layer_that_cannot_be_built_adds_no_rule,
            a_limit_of_a_layer_applies_to_no_layer_that_does_not_name_it,
            a_layer_without_rules_needs_a_rule_of_the_limiter,
            a_limit_of_requests_in_flight_cannot_be_set_twice,
            an_unbuilt_layer_logs_its_error_once_and_answers_with_500,
            without_a_peer_the_response_is_500_and_the_log_names_the_fix_once,
            an_unknown_selected_rule_is_logged_once_with_the_known_rules,
            header_fields_of_a_client_do_not_change_its_address,
        );
    }

    async fn a_layer_of_a_rule_alone_counts_in_memory(&self) {
        let layer = Layer::of_rule(Rule::per_day("api", 1), Options::new());
        match self.build(&self.limits([]), &[layer]).await {
            Ok(app) => {
                assert_eq!((app.status(get()).await, app.status(get()).await), (200, 429));
            }
            Err(ConfigError::NoStorage) => {
                self.run.unchecked("a layer of a rule alone");
            }
            Err(error) => panic!("{error}"),
        }
    }

    async fn the_error_of_an_invalid_rule_names_the_setting(&self) {
        let limits = self.limits([]);
        for (rule, words) in [
            (Rule::per_minute("api", 0), ["\"api\"", "limit is 0"]),
            (Rule::per_minute("api", 1).burst(3), ["\"api\"", "burst is 3"]),
        ] {
            let text = self.error(&limits, Layer::of_rule(rule, Options::new())).await;
            if text.contains("needs a storage") {
                return self.run.unchecked("a layer of a rule alone");
            }
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }

    async fn a_layer_that_cannot_be_built_adds_no_rule(&self) {
        let limits = self.limits([api(1)]);
        let login = || Options::new().limit("login", "5/minute");
        for invalid in [
            login().rule("unknown"),
            login().limit("search", "five"),
            login().limit("api", "7/minute"),
            login().headers(Headers::default().partition_key("short")),
        ] {
            self.error(&limits, Layer::new(&limits.limiter, invalid)).await;
        }
        let names: Vec<_> =
            limits.limiter.rules().iter().map(|rule| rule.name().to_owned()).collect();
        assert_eq!(names, ["api"]);

        drop(self.app(&limits, [login()]).await);
        self.error(&limits, Layer::new(&limits.limiter, login().rule("unknown"))).await;
        let kept = limits.limiter.rule("login").is_some();
        assert!(kept, "a failed build must not remove the rule of a layer that was built");
    }

    async fn a_limit_of_a_layer_applies_to_no_layer_that_does_not_name_it(&self) {
        let login = || Options::new().limit("login", "1/day");
        for login_is_first in [true, false] {
            let limits = self.limits([api(3)]);
            let (first, second) = match login_is_first {
                true => (login(), Options::new()),
                false => (Options::new(), login()),
            };
            let (first, second) =
                (self.app(&limits, [first]).await, self.app(&limits, [second]).await);
            let (logins, items) =
                if login_is_first { (&first, &second) } else { (&second, &first) };
            let again = self.app(&limits, [login()]).await;
            let named = self.app(&limits, [Options::new().rule("login")]).await;

            assert_eq!((logins.status(get()).await, logins.status(get()).await), (200, 429));
            assert_eq!(again.status(get()).await, 429, "two layers with one limit share it");
            assert_eq!(named.status(get()).await, 429, "its name selects it");
            assert_eq!((items.status(get()).await, items.status(get()).await), (200, 200));

            assert!(limits.limiter.replace_rule(Rule::per_day("login", 2)).unwrap());
            assert_eq!((logins.status(get()).await, logins.status(get()).await), (200, 429));
            assert_eq!(items.status(get()).await, 200, "the new rule also belongs to its layers");
            assert_eq!(items.status(get()).await, 429);

            assert!(limits.limiter.remove_rule("login"));
            assert_eq!(logins.status(get()).await, 503);
            assert_eq!(items.status(get()).await, 429);
        }
    }

    async fn a_layer_without_rules_needs_a_rule_of_the_limiter(&self) {
        let limits = self.limits([]);
        drop(self.app(&limits, [Options::new().limit("login", "1/day")]).await);
        let text = self.error(&limits, Layer::new(&limits.limiter, Options::new())).await;
        assert!(text.contains("add_rule"), "{text}");
        limits.limiter.add_rule(Rule::per_day("login", 1)).unwrap();
        let app = self.app(&limits, [Options::new()]).await;
        assert_eq!((app.status(get()).await, app.status(get()).await), (200, 429));
    }

    async fn a_limit_of_requests_in_flight_cannot_be_set_twice(&self) {
        let limits = self.limits([api(1)]);
        let uploads = || limits.limiter.concurrency("uploads", 1).unwrap();
        let twice = Options::new().concurrency(uploads()).concurrency(uploads());
        let text = self.error(&limits, Layer::new(&limits.limiter, twice)).await;
        assert!(text.contains("\"uploads\" is named twice"), "{text}");
    }

    async fn an_unbuilt_layer_logs_its_error_once_and_answers_with_500(&self) {
        let (log, _guard) = Log::start();
        let limits = self.limits([api(1)]);
        let layer = Layer::new(&limits.limiter, Options::new().rule("unknown")).unbuilt();
        let Ok(app) = self.build(&limits, &[layer]).await else {
            return self.run.unchecked("a layer that is not built");
        };
        for _ in 0..3 {
            let response = app.call(get()).await;
            is_misconfigured(&response);
            let body = r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"The server is not configured to limit requests."}"#;
            assert_eq!(response.body(), body, "the response must not contain the reason");
        }
        assert_eq!(app.handler.calls(), 0);
        let logged = log.take();
        assert_eq!(logged.lines().count(), 1, "the error must be logged once: {logged}");
        for word in ["ERROR", "\"unknown\"", "\"api\"", "500"] {
            assert!(logged.contains(word), "{word} is not in: {logged}");
        }
    }

    async fn without_a_peer_the_response_is_500_and_the_log_names_the_fix_once(&self) {
        let (log, _guard) = Log::start();
        let app = self.serve([api(1)], [Options::new()]).await;
        assert_eq!(log.take(), "");
        let fixes =
            ["into_make_service_with_connect_info::<SocketAddr>()", "TestRequest::peer_addr"];
        for _ in 0..3 {
            let response = app.call(get_from_nowhere()).await;
            is_misconfigured(&response);
            let body = String::from_utf8_lossy(response.body());
            assert!(
                !fixes.iter().any(|fix| body.contains(&fix[..11])),
                "the response must not contain the fix: {body}"
            );
        }
        let logged = log.take();
        for fix in fixes {
            assert_eq!(logged.matches(fix).count(), 1, "{logged}");
        }
        assert_eq!(logged.matches("ERROR").count(), 1, "{logged}");
        assert_eq!(app.status(get()).await, 200, "nothing was charged");
    }

    async fn an_unknown_selected_rule_is_logged_once_with_the_known_rules(&self) {
        let (log, _guard) = Log::start();
        let app = self.serve([api(1)], [Options::new().select_rules(|_, _| "gold")]).await;
        for _ in 0..3 {
            assert_eq!(app.status(get()).await, 500);
        }
        let logged = log.take();
        assert_eq!(logged.matches("ERROR").count(), 1, "{logged}");
        for word in ["\"gold\"", "\"api\"", "declare_rules"] {
            assert!(logged.contains(word), "{word} is not in: {logged}");
        }
    }

    async fn header_fields_of_a_client_do_not_change_its_address(&self) {
        let app = self.serve([api(1)], [Options::new()]).await;
        let mut statuses = Vec::new();
        for name in ["x-forwarded-for", "forwarded", "x-real-ip", "client-ip"] {
            let claim = if name == "forwarded" { "for=198.51.100.1" } else { "198.51.100.1" };
            statuses.push(app.status(with(get(), name, claim)).await);
        }
        assert_eq!(statuses, [200, 429, 429, 429]);
    }
}

#[track_caller]
fn is_misconfigured(response: &Response<Bytes>) {
    assert_eq!(response.status(), 500);
    assert_eq!(field(response, "content-type"), "application/problem+json");
}
