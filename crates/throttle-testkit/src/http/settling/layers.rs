//! Layers around each other that settle.

use throttle_core::Rule;

use crate::http::{
    adapter::Adapter,
    fixture::Fixture,
    run::{scenarios, unwinding},
    settling::limits::{WINDOW, actual, day, tokens},
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn layers(&self) {
        scenarios!(
            self, "layers";
            layers_around_each_other_hear_it_all,
            each_layer_settles_by_its_own_options,
            each_layer_gives_back_to_the_window_that_it_charged,
            what_the_inner_refuses_is_an_estimate_to_the_outer,
            a_layer_that_does_not_charge_leaves_the_others_to_settle,
        );
    }

    async fn layers_around_each_other_hear_it_all(&self) {
        let layers = || [actual().rule("tokens"), actual().rule("day").cost(50)];
        let app = self.serve([tokens(100), day(500)], layers()).await;
        app.ask("cost=4").await;
        assert_eq!((app.left_of("tokens").await, app.left_of("day").await), (96, 496));
        app.ask("").await;
        assert_eq!(
            (app.left_of("tokens").await, app.left_of("day").await),
            (86, 446),
            "its own estimate"
        );
        assert!(unwinding(app.begin("cost=6 panic")).await.is_err());
        assert_eq!((app.left_of("tokens").await, app.left_of("day").await), (80, 440));
        let response = app.begin("stream").await;
        app.handler.add(7);
        drop(response);
        assert_eq!((app.left_of("tokens").await, app.left_of("day").await), (73, 433));
    }

    async fn each_layer_settles_by_its_own_options(&self) {
        let known = |head: &throttle_http::ResponseHead<'_>| head.header("x-tokens")?.parse().ok();
        let layers = [
            actual().rule("tokens"),
            actual().rule("day").charge_bytes_sent(),
            actual().rule("hour").charge_actual_by(known),
        ];
        let rules = [tokens(100), day(500), Rule::per_hour("hour", 200)];
        let app = self.serve(rules, layers).await;
        app.ask("cost=4 field=x-tokens:33").await;
        assert_eq!(app.left_of("tokens").await, 96, "what the handler said");
        assert_eq!(app.left_of("day").await, 491, "and the bytes of the body");
        assert_eq!(app.left_of("hour").await, 167, "what the head tells");
    }

    async fn each_layer_gives_back_to_the_window_that_it_charged(&self) {
        let layers = [actual().rule("tokens"), actual().rule("day")];
        let app = self.serve([tokens(100), day(500)], layers).await;
        let response = app.begin("stream").await;
        app.handler.add(1);
        app.clock.advance(WINDOW);
        app.ask("").await;
        drop(response);
        assert_eq!(app.left_of("tokens").await, 90, "the later minute keeps what it was charged");
        assert_eq!(app.left_of("day").await, 489, "the day has it back");
    }

    async fn what_the_inner_refuses_is_an_estimate_to_the_outer(&self) {
        for (gives_back, expected) in [(false, 490), (true, 500)] {
            let outer = actual().rule("day");
            let outer = match gives_back {
                true => outer.charge_if(|response| response.status() != 429),
                false => outer,
            };
            let app = self.serve([tokens(5), day(500)], [actual().rule("tokens"), outer]).await;
            assert_eq!(app.ask("cost=1").await.status(), 429);
            assert_eq!(app.handler.calls(), 0, "no handler said what it cost");
            assert_eq!((app.left_of("tokens").await, app.left_of("day").await), (5, expected));
        }
    }

    async fn a_layer_that_does_not_charge_leaves_the_others_to_settle(&self) {
        let exempt = actual().rule("tokens").exempt(|_| true);
        for layers in [[exempt.clone(), actual().rule("day")], [actual().rule("day"), exempt]] {
            let app = self.serve([tokens(100), day(500)], layers).await;
            app.ask("cost=4").await;
            assert_eq!((app.left_of("tokens").await, app.left_of("day").await), (100, 496));
        }
    }
}
