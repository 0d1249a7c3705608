//! To what requests are settled.

use std::time::Duration;

use throttle_core::{Algorithm, Rule};
use throttle_http::ActualCost;

use crate::http::{
    adapter::Adapter,
    fixture::{CLIENT, Fixture, field},
    handler::BODY,
    run::scenarios,
    settling::limits::{WINDOW, actual, day, tokens},
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn costs(&self) {
        scenarios!(
            self, "costs";
            every_algorithm_settles_to_what_the_handler_says,
            where_nothing_is_said_the_estimate_stands,
            what_finds_no_room_is_forgiven_and_neither_denied_nor_counted,
            each_rule_is_charged_as_far_as_it_has_room,
            what_the_head_tells_is_settled_before_it_is_sent,
            a_response_that_does_not_count_is_not_settled_but_given_back,
            who_is_allowed_or_denied_in_a_dry_run_is_settled_to_nothing,
        );
    }

    async fn every_algorithm_settles_to_what_the_handler_says(&self) {
        let costs =
            [("cost=0", 100), ("cost=3", 97), ("cost=10", 90), ("cost=25", 75), ("cost=100", 0)];
        for algorithm in Algorithm::ALL {
            for (cost, expected) in costs {
                let rule = Rule::new("tokens", 100, WINDOW).algorithm(algorithm);
                let app = self.serve([rule], [actual()]).await;
                let response = app.ask(cost).await;
                let told = field(&response, "ratelimit");
                assert!(told.starts_with(r#""tokens";r=90;"#), "the estimate, not {told}");
                assert_eq!(app.left_of("tokens").await, expected, "{algorithm}, {cost}");
            }
        }
    }

    async fn where_nothing_is_said_the_estimate_stands(&self) {
        let app = self.hundred(actual()).await;
        assert_eq!(app.ask("").await.body(), BODY);
        assert_eq!(app.left_of("tokens").await, 90);
    }

    async fn what_finds_no_room_is_forgiven_and_neither_denied_nor_counted(&self) {
        let rule = tokens(100).block(Duration::from_secs(60));
        let app = self.serve([rule], [actual()]).await;
        app.ask("cost=1000").await;
        assert_eq!(app.left_of("tokens").await, 0);
        let metrics = app.limiter.metrics();
        assert_eq!((metrics.total, metrics.denied, metrics.violations), (1, 0, 0));
        let peeked = app.limiter.peek(CLIENT, "tokens").await.expect("the storage answers");
        assert!(!peeked.is_blocked(), "it shuts nobody out");
        assert_eq!(app.ask("").await.status(), 429);
    }

    async fn each_rule_is_charged_as_far_as_it_has_room(&self) {
        let app = self.serve([tokens(100), day(15)], [actual()]).await;
        app.ask("cost=40").await;
        assert_eq!((app.left_of("tokens").await, app.left_of("day").await), (60, 0));
    }

    async fn what_the_head_tells_is_settled_before_it_is_sent(&self) {
        let known = |head: &throttle_http::ResponseHead<'_>| head.header("x-tokens")?.parse().ok();
        let app = self.hundred(actual().charge_actual_by(known)).await;
        let response = app.begin("field=x-tokens:4 cost=50").await;
        assert_eq!(field(&response, "ratelimit"), r#""tokens";r=96;t=60"#);
        assert_eq!(app.left_of("tokens").await, 96, "whatever the handler said");
        drop(response);
        assert_eq!(app.left_of("tokens").await, 96, "it is settled once");
        let response = app.ask("field=x-tokens:26").await;
        assert_eq!(field(&response, "ratelimit"), r#""tokens";r=70;t=60"#);
        app.ask("cost=1").await;
        assert_eq!(
            app.left_of("tokens").await,
            69,
            "where the head tells nothing the handler does"
        );
    }

    async fn a_response_that_does_not_count_is_not_settled_but_given_back(&self) {
        let app = self.hundred(actual().charge_if(|response| response.status() != 304)).await;
        let response = app.ask("304 cost=40").await;
        assert_eq!(field(&response, "ratelimit"), r#""tokens";r=100;t=0"#);
        assert_eq!(app.left_of("tokens").await, 100);
        app.ask("cost=40").await;
        assert_eq!(app.left_of("tokens").await, 60);
    }

    async fn who_is_allowed_or_denied_in_a_dry_run_is_settled_to_nothing(&self) {
        let app = self.serve([tokens(15)], [actual().dry_run()]).await;
        app.limiter.allow_list().add(CLIENT).expect("it is an address");
        let settles = || app.handler.seen::<ActualCost>().is_some();
        app.ask("").await;
        assert!(!settles(), "on the allow list");
        assert_eq!(app.left_of("tokens").await, 15);
        app.limiter.allow_list().clear();
        app.ask("cost=8").await;
        assert!(settles());
        assert_eq!(app.left_of("tokens").await, 7, "a dry run counts");
        let denied = app.ask("").await;
        assert_eq!((denied.status().as_u16(), settles()), (200, false));
        assert_eq!(app.left_of("tokens").await, 7, "it would have been denied");
    }
}
