//! Nested layers that reconcile.

use throttle_core::Rule;

use crate::http::{
    adapter::Adapter,
    fixture::Fixture,
    reconciling::limits::{WINDOW, actual, day, tokens},
    run::{scenarios, unwinding},
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn layers(&self) {
        scenarios!(
            self, "layers";
            nested_layers_receive_all_reports,
            each_layer_reconciles_by_its_own_options,
            each_layer_refunds_the_window_that_it_charged,
            a_rejection_of_the_inner_layer_leaves_the_estimate_of_the_outer,
            a_layer_that_does_not_charge_does_not_affect_the_others,
        );
    }

    async fn nested_layers_receive_all_reports(&self) {
        let layers = || [actual().rule("tokens"), actual().rule("day").cost(50)];
        let app = self.serve([tokens(100), day(500)], layers()).await;
        app.ask("cost=4").await;
        assert_eq!((app.remaining("tokens").await, app.remaining("day").await), (96, 496));
        app.ask("").await;
        assert_eq!(
            (app.remaining("tokens").await, app.remaining("day").await),
            (86, 446),
            "without a report each layer must charge its own estimate"
        );
        assert!(unwinding(app.begin("cost=6 panic")).await.is_err());
        assert_eq!((app.remaining("tokens").await, app.remaining("day").await), (80, 440));
        let response = app.begin("stream").await;
        app.handler.add(7);
        drop(response);
        assert_eq!((app.remaining("tokens").await, app.remaining("day").await), (73, 433));
    }

    async fn each_layer_reconciles_by_its_own_options(&self) {
        let known = |head: &throttle_http::ResponseHead<'_>| head.header("x-tokens")?.parse().ok();
        let layers = [
            actual().rule("tokens"),
            actual().rule("day").charge_bytes_sent(),
            actual().rule("hour").charge_actual_by(known),
        ];
        let rules = [tokens(100), day(500), Rule::per_hour("hour", 200)];
        let app = self.serve(rules, layers).await;
        app.ask("cost=4 field=x-tokens:33").await;
        assert_eq!(app.remaining("tokens").await, 96, "the cost that the handler reported");
        assert_eq!(app.remaining("day").await, 491, "that cost and the bytes of the body");
        assert_eq!(app.remaining("hour").await, 167, "the cost in the head");
    }

    async fn each_layer_refunds_the_window_that_it_charged(&self) {
        let layers = [actual().rule("tokens"), actual().rule("day")];
        let app = self.serve([tokens(100), day(500)], layers).await;
        let response = app.begin("stream").await;
        app.handler.add(1);
        app.clock.advance(WINDOW);
        app.ask("").await;
        drop(response);
        assert_eq!(app.remaining("tokens").await, 90, "the later minute must keep its charge");
        assert_eq!(app.remaining("day").await, 489, "the day must be refunded");
    }

    async fn a_rejection_of_the_inner_layer_leaves_the_estimate_of_the_outer(&self) {
        for (refunds, expected) in [(false, 490), (true, 500)] {
            let outer = actual().rule("day");
            let outer = match refunds {
                true => outer.charge_if(|response| response.status() != 429),
                false => outer,
            };
            let app = self.serve([tokens(5), day(500)], [actual().rule("tokens"), outer]).await;
            assert_eq!(app.ask("cost=1").await.status(), 429);
            assert_eq!(app.handler.calls(), 0, "the handler is not called");
            assert_eq!((app.remaining("tokens").await, app.remaining("day").await), (5, expected));
        }
    }

    async fn a_layer_that_does_not_charge_does_not_affect_the_others(&self) {
        let exempt = actual().rule("tokens").exempt(|_| true);
        for layers in [[exempt.clone(), actual().rule("day")], [actual().rule("day"), exempt]] {
            let app = self.serve([tokens(100), day(500)], layers).await;
            app.ask("cost=4").await;
            assert_eq!((app.remaining("tokens").await, app.remaining("day").await), (100, 496));
        }
    }
}
