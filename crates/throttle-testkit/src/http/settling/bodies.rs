//! When requests are settled: at the end of their body, however it ends, and whatever the window is then.

use std::pin::pin;

use bytes::Bytes;
use http::{Request, Response};
use throttle_core::{Algorithm, Limiter, Rule, Storage};
use throttle_http::Options;

use super::{
    super::following::{go_on, poll_once},
    Adapter, ESTIMATE, Reader, Teller, WINDOW, actual, field, panics,
};

impl<St, S, F, M, C> Adapter<F, M, C>
where
    St: Storage,
    F: Fn() -> St,
    M: AsyncFn(Vec<Options>, Limiter, Teller) -> S,
    C: AsyncFn(&S, Request<Bytes>) -> Response<Reader>,
{
    pub(super) async fn bodies(&self) {
        self.a_stream_says_what_it_costs_while_it_is_sent().await;
        self.who_leaves_during_the_body_pays_what_is_known().await;
        self.a_body_that_fails_is_paid_as_far_as_is_known().await;
        self.who_leaves_before_the_response_pays_what_is_known_or_the_estimate().await;
        self.who_leaves_before_the_handler_is_called_pays_nothing().await;
        self.a_handler_that_panics_pays_what_it_said().await;
        self.bytes_are_charged_as_they_are_sent().await;
        self.a_download_that_is_broken_off_costs_what_was_sent().await;
        self.a_response_without_a_body_has_no_bytes().await;
        self.what_was_too_much_goes_back_to_the_window_that_was_charged_and_to_no_later_one().await;
        self.what_the_head_tells_too_late_goes_to_no_later_window().await;
        self.what_was_too_little_is_charged_to_the_window_in_which_it_is_known().await;
    }

    async fn a_stream_says_what_it_costs_while_it_is_sent(&self) {
        let app = self.hundred(actual()).await;
        let mut response = app.begin("stream").await;
        for cost in [1, 2, 30] {
            app.teller.add(cost);
            app.teller.send("piece");
            assert_eq!(response.body_mut().next().await.as_deref(), Some(&b"piece"[..]));
            assert_eq!(app.left().await, 90, "the estimate, until the end");
        }
        app.teller.end();
        assert!(response.body_mut().next().await.is_none());
        assert_eq!(app.left().await, 67);
    }

    async fn who_leaves_during_the_body_pays_what_is_known(&self) {
        let app = self.hundred(actual()).await;
        let mut response = app.begin("stream").await;
        app.teller.add(4);
        app.teller.send("piece");
        response.body_mut().next().await.expect("a piece was sent");
        let late = app.teller.cost();
        drop(response);
        assert_eq!(app.left().await, 96);
        late.add(50);
        assert_eq!(app.left().await, 96, "it comes too late");
    }

    async fn a_body_that_fails_is_paid_as_far_as_is_known(&self) {
        let app = self.hundred(actual()).await;
        let mut response = app.begin("stream").await;
        app.teller.add(4);
        app.teller.fail();
        assert!(response.body_mut().next().await.is_none(), "it has failed");
        assert_eq!(app.left().await, 96, "though the client is still there");
    }

    async fn who_leaves_before_the_response_pays_what_is_known_or_the_estimate(&self) {
        for (what, expected) in [("cost=4 wait", 96), ("wait", 90)] {
            let app = self.hundred(actual()).await;
            {
                let mut leaving = pin!(app.begin(what));
                assert!(go_on(leaving.as_mut()).await.is_none(), "it waits");
            }
            assert_eq!((app.teller.calls(), app.left().await), (1, expected), "{what}");
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
            let expected = 100 - ESTIMATE * app.teller.calls() as u64;
            assert_eq!(app.left().await, expected, "it left after {polls} polls");
        }
    }

    async fn a_handler_that_panics_pays_what_it_said(&self) {
        let app = self.hundred(actual()).await;
        assert!(panics(app.begin("cost=4 panic")).await);
        assert_eq!(app.left().await, 96);
        assert!(panics(app.begin("panic")).await);
        assert_eq!(app.left().await, 86, "nothing was said");
    }

    async fn bytes_are_charged_as_they_are_sent(&self) {
        let app = self.hundred(actual().charge_bytes_sent()).await;
        assert_eq!(app.ask("").await.body().len(), 5);
        assert_eq!(app.left().await, 95);
        app.ask("cost=20").await;
        assert_eq!(app.left().await, 70, "beside what the handler said");
    }

    async fn a_download_that_is_broken_off_costs_what_was_sent(&self) {
        for algorithm in Algorithm::ALL {
            let rule = Rule::new("tokens", 100, WINDOW).algorithm(algorithm);
            let app = self.serve([rule], [actual().charge_bytes_sent()]).await;
            let mut response = app.begin("stream").await;
            app.teller.send("twenty bytes of text");
            app.teller.send("never seen");
            response.body_mut().next().await.expect("a piece was sent");
            assert_eq!(app.left().await, 90, "the estimate, until the end");
            drop(response);
            assert_eq!(app.left().await, 80, "what the client did not get is not charged");
            let mut response = app.begin("stream").await;
            app.teller.send("four");
            app.teller.fail();
            while response.body_mut().next().await.is_some() {}
            assert_eq!(app.left().await, 76, "{algorithm}: it failed after four bytes");
            drop(app.begin("stream").await);
            assert_eq!(app.left().await, 76, "{algorithm}: the client left before the first byte");
        }
    }

    async fn a_response_without_a_body_has_no_bytes(&self) {
        let app = self.hundred(actual().charge_bytes_sent()).await;
        let response = app.ask("304").await;
        assert_eq!((response.status().as_u16(), response.body().len()), (304, 0));
        assert_eq!(field(&response, "ratelimit"), r#""tokens";r=90;t=60"#, "the estimate");
        drop(response);
        assert_eq!(app.left().await, 100);
    }

    async fn what_was_too_much_goes_back_to_the_window_that_was_charged_and_to_no_later_one(&self) {
        for algorithm in Algorithm::ALL {
            for ends in [false, true] {
                let rule = Rule::new("tokens", 100, WINDOW).algorithm(algorithm);
                let app = self.serve([rule], [actual()]).await;
                let mut response = app.begin("stream").await;
                let first = app.teller.clone();
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
                assert_eq!(app.left().await, 90, "{algorithm}: {why}");
            }
        }
    }

    async fn what_the_head_tells_too_late_goes_to_no_later_window(&self) {
        let known = |head: &throttle_http::ResponseHead<'_>| head.header("x-tokens")?.parse().ok();
        let app = self.hundred(actual().charge_actual_by(known)).await;
        {
            let mut first = pin!(app.begin("later tokens=1"));
            assert!(go_on(first.as_mut()).await.is_none(), "it is at work");
            app.clock.advance(WINDOW);
            app.ask("").await;
            app.teller.finish();
            go_on(first).await.expect("nothing is waited for");
        }
        assert_eq!(app.left().await, 90, "the later window keeps what it was charged");
    }

    async fn what_was_too_little_is_charged_to_the_window_in_which_it_is_known(&self) {
        for algorithm in Algorithm::ALL {
            let rule = Rule::new("tokens", 100, WINDOW).algorithm(algorithm);
            let app = self.serve([rule], [actual()]).await;
            let response = app.begin("stream").await;
            app.teller.add(40);
            app.clock.advance(2 * WINDOW);
            drop(response);
            assert_eq!(app.left().await, 70, "{algorithm}");
        }
    }
}
