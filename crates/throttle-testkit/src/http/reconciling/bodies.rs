//! The time of reconciliation: the end of the body, regardless of how it ends and of the window that is then
//! current.

use std::pin::pin;

use throttle_core::{Algorithm, Rule};

use crate::http::{
    adapter::Adapter,
    fixture::{Fixture, field, go_on, poll_once},
    reconciling::limits::{ESTIMATE, WINDOW, actual},
    run::{scenarios, unwinding},
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn bodies(&self) {
        scenarios!(
            self, "bodies";
            a_stream_can_report_its_cost_while_it_is_sent,
            a_disconnect_during_the_body_is_charged_the_reported_cost,
            a_body_that_fails_is_charged_the_reported_cost,
            a_disconnect_before_the_response_is_charged_the_reported_cost_or_the_estimate,
            a_disconnect_before_the_handler_is_called_is_not_charged,
            a_handler_that_panics_is_charged_the_reported_cost,
            bytes_are_charged_as_they_are_sent,
            an_aborted_download_is_charged_the_sent_bytes,
            a_response_without_a_body_has_no_bytes,
            an_excess_is_refunded_only_to_the_window_that_was_charged,
            an_excess_that_the_head_reports_is_not_refunded_to_a_later_window,
            a_shortfall_is_charged_to_the_current_window,
        );
    }

    async fn a_stream_can_report_its_cost_while_it_is_sent(&self) {
        let app = self.hundred(actual()).await;
        let mut response = app.begin("stream").await;
        for cost in [1, 2, 30] {
            app.handler.add(cost);
            app.handler.send("piece");
            assert_eq!(response.body_mut().piece().await, "piece");
            assert_eq!(
                app.remaining("tokens").await,
                90,
                "the estimate must be charged until the end of the body"
            );
        }
        app.handler.end();
        assert!(response.body_mut().next().await.is_none());
        assert_eq!(app.remaining("tokens").await, 67);
    }

    async fn a_disconnect_during_the_body_is_charged_the_reported_cost(&self) {
        let app = self.hundred(actual()).await;
        let mut response = app.begin("stream").await;
        app.handler.add(4);
        app.handler.send("piece");
        response.body_mut().piece().await;
        let late = app.handler.cost();
        drop(response);
        assert_eq!(app.remaining("tokens").await, 96);
        late.add(50);
        assert_eq!(app.remaining("tokens").await, 96, "a report after the end must be ignored");
    }

    async fn a_body_that_fails_is_charged_the_reported_cost(&self) {
        let app = self.hundred(actual()).await;
        let mut response = app.begin("stream").await;
        app.handler.add(4);
        app.handler.fail();
        assert!(
            response.body_mut().next().await.is_some_and(|piece| piece.is_err()),
            "the body fails"
        );
        assert_eq!(
            app.remaining("tokens").await,
            96,
            "a failed body must be reconciled before it is dropped"
        );
    }

    async fn a_disconnect_before_the_response_is_charged_the_reported_cost_or_the_estimate(&self) {
        for (what, expected) in [("cost=4 wait", 96), ("wait", 90)] {
            let app = self.hundred(actual()).await;
            {
                let mut request = pin!(app.begin(what));
                assert!(go_on(request.as_mut()).await.is_none(), "the handler waits");
            }
            assert_eq!(
                (app.handler.calls(), app.remaining("tokens").await),
                (1, expected),
                "{what}"
            );
        }
    }

    async fn a_disconnect_before_the_handler_is_called_is_not_charged(&self) {
        for polls in 0..30 {
            let app = self.hundred(actual()).await;
            {
                let mut request = pin!(app.begin("wait"));
                for _ in 0..polls {
                    assert!(poll_once(request.as_mut()).await.is_none(), "the handler waits");
                }
            }
            let expected = 100 - ESTIMATE * app.handler.calls() as u64;
            assert_eq!(app.remaining("tokens").await, expected, "disconnected after {polls} polls");
        }
    }

    async fn a_handler_that_panics_is_charged_the_reported_cost(&self) {
        let app = self.hundred(actual()).await;
        assert!(unwinding(app.begin("cost=4 panic")).await.is_err());
        assert_eq!(app.remaining("tokens").await, 96);
        assert!(unwinding(app.begin("panic")).await.is_err());
        assert_eq!(
            app.remaining("tokens").await,
            86,
            "without a report the estimate must be charged"
        );
    }

    async fn bytes_are_charged_as_they_are_sent(&self) {
        let app = self.hundred(actual().charge_bytes_sent()).await;
        assert_eq!(app.ask("").await.body().len(), 5);
        assert_eq!(app.remaining("tokens").await, 95);
        app.ask("cost=20").await;
        assert_eq!(
            app.remaining("tokens").await,
            70,
            "the bytes must be added to the reported cost"
        );
    }

    async fn an_aborted_download_is_charged_the_sent_bytes(&self) {
        for algorithm in Algorithm::ALL {
            let rule = Rule::new("tokens", 100, WINDOW).algorithm(algorithm);
            let app = self.serve([rule], [actual().charge_bytes_sent()]).await;
            let mut response = app.begin("stream").await;
            app.handler.send("twenty bytes of text");
            app.handler.send("not read");
            response.body_mut().piece().await;
            assert_eq!(
                app.remaining("tokens").await,
                90,
                "the estimate must be charged until the end of the body"
            );
            drop(response);
            assert_eq!(
                app.remaining("tokens").await,
                80,
                "bytes that the client did not read must not be charged"
            );
            let mut response = app.begin("stream").await;
            app.handler.send("four");
            app.handler.fail();
            while response.body_mut().next().await.is_some_and(|piece| piece.is_ok()) {}
            assert_eq!(
                app.remaining("tokens").await,
                76,
                "{algorithm}: the body failed after four bytes"
            );
            drop(app.begin("stream").await);
            assert_eq!(
                app.remaining("tokens").await,
                76,
                "{algorithm}: the client disconnected before the first byte"
            );
        }
    }

    async fn a_response_without_a_body_has_no_bytes(&self) {
        let app = self.hundred(actual().charge_bytes_sent()).await;
        let response = app.ask("304").await;
        assert_eq!((response.status().as_u16(), response.body().len()), (304, 0));
        assert_eq!(field(&response, "ratelimit"), r#""tokens";r=90;t=60"#, "the estimate");
        drop(response);
        assert_eq!(app.remaining("tokens").await, 100);
    }

    async fn an_excess_is_refunded_only_to_the_window_that_was_charged(&self) {
        for algorithm in Algorithm::ALL {
            for ends in [false, true] {
                let rule = Rule::new("tokens", 100, WINDOW).algorithm(algorithm);
                let app = self.serve([rule], [actual()]).await;
                let mut response = app.begin("stream").await;
                let first = app.handler.clone();
                first.add(1);
                // Two windows, because the previous window counts in a sliding window.
                app.clock.advance(2 * WINDOW);
                app.ask("").await;
                if ends {
                    first.end();
                    assert!(response.body_mut().next().await.is_none());
                }
                drop(response);
                let why = "the later window must keep its charge";
                assert_eq!(app.remaining("tokens").await, 90, "{algorithm}: {why}");
            }
        }
    }

    async fn an_excess_that_the_head_reports_is_not_refunded_to_a_later_window(&self) {
        let known = |head: &throttle_http::ResponseHead<'_>| head.header("x-tokens")?.parse().ok();
        let app = self.hundred(actual().charge_actual_by(known)).await;
        {
            let mut first = pin!(app.begin("wait field=x-tokens:1"));
            assert!(go_on(first.as_mut()).await.is_none(), "the handler waits");
            app.clock.advance(WINDOW);
            app.ask("").await;
            app.handler.open();
            go_on(first).await.expect("the handler continues");
        }
        assert_eq!(app.remaining("tokens").await, 90, "the later window must keep its charge");
    }

    async fn a_shortfall_is_charged_to_the_current_window(&self) {
        for algorithm in Algorithm::ALL {
            let rule = Rule::new("tokens", 100, WINDOW).algorithm(algorithm);
            let app = self.serve([rule], [actual()]).await;
            let response = app.begin("stream").await;
            app.handler.add(40);
            app.clock.advance(2 * WINDOW);
            drop(response);
            assert_eq!(app.remaining("tokens").await, 70, "{algorithm}");
        }
    }
}
