//! When requests are settled: at the end of their body, however it ends, and whatever the window is then.

use std::pin::pin;

use throttle_core::{Algorithm, Rule};

use crate::http::{
    adapter::Adapter,
    fixture::{Fixture, field, go_on, poll_once},
    run::{scenarios, unwinding},
    settling::limits::{ESTIMATE, WINDOW, actual},
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn bodies(&self) {
        scenarios!(
            self, "bodies";
            a_stream_says_what_it_costs_while_it_is_sent,
            who_leaves_during_the_body_pays_what_is_known,
            a_body_that_fails_is_paid_as_far_as_is_known,
            who_leaves_before_the_response_pays_what_is_known_or_the_estimate,
            who_leaves_before_the_handler_is_called_pays_nothing,
            a_handler_that_panics_pays_what_it_said,
            bytes_are_charged_as_they_are_sent,
            a_download_that_is_broken_off_costs_what_was_sent,
            a_response_without_a_body_has_no_bytes,
            what_was_too_much_goes_back_to_the_window_that_was_charged_and_to_no_later_one,
            what_the_head_tells_too_late_goes_to_no_later_window,
            what_was_too_little_is_charged_to_the_window_in_which_it_is_known,
        );
    }

    async fn a_stream_says_what_it_costs_while_it_is_sent(&self) {
        let app = self.hundred(actual()).await;
        let mut response = app.begin("stream").await;
        for cost in [1, 2, 30] {
            app.handler.add(cost);
            app.handler.send("piece");
            assert_eq!(response.body_mut().piece().await, "piece");
            assert_eq!(app.left_of("tokens").await, 90, "the estimate, until the end");
        }
        app.handler.end();
        assert!(response.body_mut().next().await.is_none());
        assert_eq!(app.left_of("tokens").await, 67);
    }

    async fn who_leaves_during_the_body_pays_what_is_known(&self) {
        let app = self.hundred(actual()).await;
        let mut response = app.begin("stream").await;
        app.handler.add(4);
        app.handler.send("piece");
        response.body_mut().piece().await;
        let late = app.handler.cost();
        drop(response);
        assert_eq!(app.left_of("tokens").await, 96);
        late.add(50);
        assert_eq!(app.left_of("tokens").await, 96, "it comes too late");
    }

    async fn a_body_that_fails_is_paid_as_far_as_is_known(&self) {
        let app = self.hundred(actual()).await;
        let mut response = app.begin("stream").await;
        app.handler.add(4);
        app.handler.fail();
        assert!(
            response.body_mut().next().await.is_some_and(|piece| piece.is_err()),
            "it has failed"
        );
        assert_eq!(app.left_of("tokens").await, 96, "though the client is still there");
    }

    async fn who_leaves_before_the_response_pays_what_is_known_or_the_estimate(&self) {
        for (what, expected) in [("cost=4 wait", 96), ("wait", 90)] {
            let app = self.hundred(actual()).await;
            {
                let mut leaving = pin!(app.begin(what));
                assert!(go_on(leaving.as_mut()).await.is_none(), "it waits");
            }
            assert_eq!((app.handler.calls(), app.left_of("tokens").await), (1, expected), "{what}");
        }
    }

    async fn who_leaves_before_the_handler_is_called_pays_nothing(&self) {
        for polls in 0..30 {
            let app = self.hundred(actual()).await;
            {
                let mut leaving = pin!(app.begin("wait"));
                for _ in 0..polls {
                    assert!(poll_once(leaving.as_mut()).await.is_none(), "it waits");
                }
            }
            let expected = 100 - ESTIMATE * app.handler.calls() as u64;
            assert_eq!(app.left_of("tokens").await, expected, "it left after {polls} polls");
        }
    }

    async fn a_handler_that_panics_pays_what_it_said(&self) {
        let app = self.hundred(actual()).await;
        assert!(unwinding(app.begin("cost=4 panic")).await.is_err());
        assert_eq!(app.left_of("tokens").await, 96);
        assert!(unwinding(app.begin("panic")).await.is_err());
        assert_eq!(app.left_of("tokens").await, 86, "nothing was said");
    }

    async fn bytes_are_charged_as_they_are_sent(&self) {
        let app = self.hundred(actual().charge_bytes_sent()).await;
        assert_eq!(app.ask("").await.body().len(), 5);
        assert_eq!(app.left_of("tokens").await, 95);
        app.ask("cost=20").await;
        assert_eq!(app.left_of("tokens").await, 70, "beside what the handler said");
    }

    async fn a_download_that_is_broken_off_costs_what_was_sent(&self) {
        for algorithm in Algorithm::ALL {
            let rule = Rule::new("tokens", 100, WINDOW).algorithm(algorithm);
            let app = self.serve([rule], [actual().charge_bytes_sent()]).await;
            let mut response = app.begin("stream").await;
            app.handler.send("twenty bytes of text");
            app.handler.send("never seen");
            response.body_mut().piece().await;
            assert_eq!(app.left_of("tokens").await, 90, "the estimate, until the end");
            drop(response);
            assert_eq!(
                app.left_of("tokens").await,
                80,
                "what the client did not get is not charged"
            );
            let mut response = app.begin("stream").await;
            app.handler.send("four");
            app.handler.fail();
            while response.body_mut().next().await.is_some_and(|piece| piece.is_ok()) {}
            assert_eq!(app.left_of("tokens").await, 76, "{algorithm}: it failed after four bytes");
            drop(app.begin("stream").await);
            assert_eq!(
                app.left_of("tokens").await,
                76,
                "{algorithm}: the client left before the first byte"
            );
        }
    }

    async fn a_response_without_a_body_has_no_bytes(&self) {
        let app = self.hundred(actual().charge_bytes_sent()).await;
        let response = app.ask("304").await;
        assert_eq!((response.status().as_u16(), response.body().len()), (304, 0));
        assert_eq!(field(&response, "ratelimit"), r#""tokens";r=90;t=60"#, "the estimate");
        drop(response);
        assert_eq!(app.left_of("tokens").await, 100);
    }

    async fn what_was_too_much_goes_back_to_the_window_that_was_charged_and_to_no_later_one(&self) {
        for algorithm in Algorithm::ALL {
            for ends in [false, true] {
                let rule = Rule::new("tokens", 100, WINDOW).algorithm(algorithm);
                let app = self.serve([rule], [actual()]).await;
                let mut response = app.begin("stream").await;
                let first = app.handler.clone();
                first.add(1);
                // Of a sliding window the one before counts, too.
                app.clock.advance(2 * WINDOW);
                app.ask("").await;
                if ends {
                    first.end();
                    assert!(response.body_mut().next().await.is_none());
                }
                drop(response);
                let why = "the later window keeps what it was charged";
                assert_eq!(app.left_of("tokens").await, 90, "{algorithm}: {why}");
            }
        }
    }

    async fn what_the_head_tells_too_late_goes_to_no_later_window(&self) {
        let known = |head: &throttle_http::ResponseHead<'_>| head.header("x-tokens")?.parse().ok();
        let app = self.hundred(actual().charge_actual_by(known)).await;
        {
            let mut first = pin!(app.begin("wait field=x-tokens:1"));
            assert!(go_on(first.as_mut()).await.is_none(), "it is at work");
            app.clock.advance(WINDOW);
            app.ask("").await;
            app.handler.open();
            go_on(first).await.expect("nothing is waited for");
        }
        assert_eq!(app.left_of("tokens").await, 90, "the later window keeps what it was charged");
    }

    async fn what_was_too_little_is_charged_to_the_window_in_which_it_is_known(&self) {
        for algorithm in Algorithm::ALL {
            let rule = Rule::new("tokens", 100, WINDOW).algorithm(algorithm);
            let app = self.serve([rule], [actual()]).await;
            let response = app.begin("stream").await;
            app.handler.add(40);
            app.clock.advance(2 * WINDOW);
            drop(response);
            assert_eq!(app.left_of("tokens").await, 70, "{algorithm}");
        }
    }
}
