//! The cost that is charged after reconciliation.

use std::time::Duration;

use throttle_core::{Algorithm, Rule};
use throttle_http::ActualCost;

use crate::http::{
    adapter::Adapter,
    fixture::{CLIENT, Fixture, field},
    handler::BODY,
    reconciling::limits::{WINDOW, actual, day, tokens},
    run::scenarios,
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn costs(&self) {
        scenarios!(
            self, "costs";
            every_algorithm_reconciles_to_the_reported_cost,
            without_a_report_the_estimate_stays,
            a_cost_over_the_limit_is_capped_and_is_not_a_denial,
            each_rule_is_charged_up_to_its_limit,
            a_cost_in_the_head_is_reconciled_before_the_response_is_sent,
            a_response_that_is_not_charged_is_refunded_and_not_reconciled,
            listed_clients_are_not_reconciled_in_a_dry_run,
        );
    }

    async fn every_algorithm_reconciles_to_the_reported_cost(&self) {
        let costs =
            [("cost=0", 100), ("cost=3", 97), ("cost=10", 90), ("cost=25", 75), ("cost=100", 0)];
        for algorithm in Algorithm::ALL {
            for (cost, expected) in costs {
                let rule = Rule::new("tokens", 100, WINDOW).algorithm(algorithm);
                let app = self.serve([rule], [actual()]).await;
                let response = app.ask(cost).await;
                let reported = field(&response, "ratelimit");
                let is_estimate = reported.starts_with(r#""tokens";r=90;"#);
                assert!(is_estimate, "the field must report the estimate: {reported}");
                assert_eq!(app.remaining("tokens").await, expected, "{algorithm}, {cost}");
            }
        }
    }

    async fn without_a_report_the_estimate_stays(&self) {
        let app = self.hundred(actual()).await;
        assert_eq!(app.ask("").await.body(), BODY);
        assert_eq!(app.remaining("tokens").await, 90);
    }

    async fn a_cost_over_the_limit_is_capped_and_is_not_a_denial(&self) {
        let rule = tokens(100).block(Duration::from_secs(60));
        let app = self.serve([rule], [actual()]).await;
        app.ask("cost=1000").await;
        assert_eq!(app.remaining("tokens").await, 0);
        let metrics = app.limiter.metrics();
        assert_eq!((metrics.total, metrics.denied, metrics.violations), (1, 0, 0));
        let peeked = app.limiter.peek(CLIENT, "tokens").await.expect("the storage answers");
        assert!(!peeked.is_blocked(), "reconciliation must not block the client");
        assert_eq!(app.ask("").await.status(), 429);
    }

    async fn each_rule_is_charged_up_to_its_limit(&self) {
        let app = self.serve([tokens(100), day(15)], [actual()]).await;
        app.ask("cost=40").await;
        assert_eq!((app.remaining("tokens").await, app.remaining("day").await), (60, 0));
    }

    async fn a_cost_in_the_head_is_reconciled_before_the_response_is_sent(&self) {
        let known = |head: &throttle_http::ResponseHead<'_>| head.header("x-tokens")?.parse().ok();
        let app = self.hundred(actual().charge_actual_by(known)).await;
        let response = app.begin("field=x-tokens:4 cost=50").await;
        assert_eq!(field(&response, "ratelimit"), r#""tokens";r=96;t=60"#);
        assert_eq!(
            app.remaining("tokens").await,
            96,
            "the cost in the head must take precedence over that of the handler"
        );
        drop(response);
        assert_eq!(app.remaining("tokens").await, 96, "the request must be reconciled once");
        let response = app.ask("field=x-tokens:26").await;
        assert_eq!(field(&response, "ratelimit"), r#""tokens";r=70;t=60"#);
        app.ask("cost=1").await;
        assert_eq!(
            app.remaining("tokens").await,
            69,
            "without a cost in the head the cost of the handler must be charged"
        );
    }

    async fn a_response_that_is_not_charged_is_refunded_and_not_reconciled(&self) {
        let app = self.hundred(actual().charge_if(|response| response.status() != 304)).await;
        let response = app.ask("304 cost=40").await;
        assert_eq!(field(&response, "ratelimit"), r#""tokens";r=100;t=0"#);
        assert_eq!(app.remaining("tokens").await, 100);
        app.ask("cost=40").await;
        assert_eq!(app.remaining("tokens").await, 60);
    }

    async fn listed_clients_are_not_reconciled_in_a_dry_run(&self) {
        let app = self.serve([tokens(15)], [actual().dry_run()]).await;
        app.limiter.allow_list().add(CLIENT).expect("it is a valid address");
        let reconciles = || app.handler.seen::<ActualCost>().is_some();
        app.ask("").await;
        assert!(!reconciles(), "a client on the allow list must not be reconciled");
        assert_eq!(app.remaining("tokens").await, 15);
        app.limiter.allow_list().clear();
        app.ask("cost=8").await;
        assert!(reconciles());
        assert_eq!(app.remaining("tokens").await, 7, "a dry run must charge");
        let denied = app.ask("").await;
        assert_eq!((denied.status().as_u16(), reconciles()), (200, false));
        assert_eq!(
            app.remaining("tokens").await,
            7,
            "a request that would be denied must not be charged"
        );
    }
}
