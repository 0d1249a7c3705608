//! Decisions in extensions: always in the request, optionally in the response.

use throttle_core::{Algorithm, Decisions, ListMatch, Rule};
use throttle_http::Options;

use crate::http::{
    adapter::Adapter,
    case::get,
    fixture::{App, CLIENT, Fixture, api, lines},
    run::scenarios,
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn extensions(&self) {
        scenarios!(
            self, "extensions";
            a_handler_reads_the_decisions_of_its_request,
            an_outer_layer_reads_the_decisions_of_a_response,
            a_response_has_decisions_only_with_the_option,
            in_a_dry_run_the_handler_reads_the_denial,
            an_exempt_request_has_no_decisions,
            the_decisions_of_a_client_on_the_allow_list_report_the_list,
            the_handler_reads_the_decisions_of_the_inner_layer_and_the_client_those_of_the_outer,
        );
    }

    async fn a_handler_reads_the_decisions_of_its_request(&self) {
        let options = Options::new().limit("web", "9/hour").rule("api");
        let app = self.serve([api(3)], [options]).await;
        for expected in ["web 8, api 2", "web 7, api 1"] {
            assert_eq!(app.status(get()).await, 200);
            assert_eq!(seen_by_handler(&app), expected);
        }
    }

    async fn an_outer_layer_reads_the_decisions_of_a_response(&self) {
        let app = self.serve([api(1)], [Options::new().response_extension(true)]).await;
        for (allowed, status) in [(true, 200), (false, 429)] {
            let response = app.call(get()).await;
            assert_eq!(response.status(), status);
            let decisions = response.extensions().get::<Decisions>().expect("decisions");
            assert_eq!(decisions.is_allowed(), allowed);
            assert_eq!(decisions.most_restrictive().rule(), "api");
        }
    }

    async fn a_response_has_decisions_only_with_the_option(&self) {
        for options in [Options::new(), Options::new().response_extension(false)] {
            let app = self.serve([api(1)], [options]).await;
            for status in [200, 429] {
                let response = app.call(get()).await;
                assert_eq!(response.status(), status);
                assert!(response.extensions().get::<Decisions>().is_none());
            }
            assert!(app.handler.seen::<Decisions>().is_some(), "the handler has them");
        }
    }

    async fn in_a_dry_run_the_handler_reads_the_denial(&self) {
        let app = self.serve([api(1)], [Options::new().dry_run()]).await;
        for expected in [true, false] {
            app.call(get()).await;
            let decisions = app.handler.seen::<Decisions>().expect("decisions");
            assert_eq!(decisions.is_allowed(), expected);
        }
    }

    async fn an_exempt_request_has_no_decisions(&self) {
        let options = Options::new().response_extension(true).exempt(|_| true);
        let app = self.serve([api(1)], [options]).await;
        let response = app.call(get()).await;
        assert!(response.extensions().get::<Decisions>().is_none());
        assert_eq!(app.handler.calls(), 1);
        assert!(app.handler.seen::<Decisions>().is_none());
    }

    async fn the_decisions_of_a_client_on_the_allow_list_report_the_list(&self) {
        let app = self.serve([api(1)], [Options::new().response_extension(true)]).await;
        app.limiter.allow_list().add(CLIENT).unwrap();
        let response = app.call(get()).await;
        let decisions = response.extensions().get::<Decisions>().expect("decisions");
        assert_eq!(decisions.most_restrictive().listed(), Some(ListMatch::Allowed));
        assert!(app.handler.seen::<Decisions>().is_some());
    }

    async fn the_handler_reads_the_decisions_of_the_inner_layer_and_the_client_those_of_the_outer(
        &self,
    ) {
        let inner = Rule::per_hour("inner", 5).algorithm(Algorithm::FixedWindow);
        for inner_inserts_them in [false, true] {
            let layers = [
                Options::new().rule("inner").response_extension(inner_inserts_them),
                Options::new().rule("api").response_extension(true),
            ];
            let app = self.serve([api(10), inner.clone()], layers).await;
            let response = app.call(get()).await;
            let decisions = response.extensions().get::<Decisions>().expect("decisions");
            assert_eq!(decisions.most_restrictive().rule(), "api");
            assert_eq!(lines(&response, "ratelimit"), [r#""inner";r=4;t=3600, "api";r=9;t=60"#]);
            let policies = [r#""inner";q=5;w=3600, "api";q=10;w=60"#];
            assert_eq!(lines(&response, "ratelimit-policy"), policies);
            assert_eq!(seen_by_handler(&app), "inner 4");
        }
    }
}

/// Returns the rules in the last decisions that the handler read, with the remaining cost of each.
fn seen_by_handler<A: Adapter>(app: &App<'_, A>) -> String {
    let decisions = app.handler.seen::<Decisions>().expect("decisions");
    let seen = decisions.all().iter().map(|one| format!("{} {}", one.rule(), one.remaining()));
    seen.collect::<Vec<_>>().join(", ")
}
