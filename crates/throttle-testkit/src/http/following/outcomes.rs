//! Charges that depend on the response.

use std::pin::pin;

use bytes::Bytes;
use http::{Request, Response};
use throttle_core::{Limiter, Rule, Storage};
use throttle_http::{OnError, Options};

use super::{super::panics::Down, Adapter, Handler, WINDOW, go_on, poll_once};

impl<St, S, F, M, C> Adapter<F, M, C>
where
    St: Storage,
    F: Fn() -> St,
    M: AsyncFn(Options, Limiter, Handler) -> S,
    C: AsyncFn(&S, Request<Bytes>) -> Response<Bytes>,
{
    pub(super) async fn outcomes(&self) {
        self.failed_logins_alone_count().await;
        self.the_fields_of_the_response_are_seen().await;
        self.the_window_that_was_charged_has_it_back().await;
        self.who_leaves_before_the_response_stays_charged().await;
        self.who_leaves_while_its_charge_goes_back_is_not_charged().await;
        self.a_failure_is_that_of_any_request().await;
    }

    async fn failed_logins_alone_count(&self) {
        let options = Options::new().charge_if(|response| response.status() == 401);
        let app = self.windows(2, options).await;
        for _ in 0..3 {
            let answer = app.field("200", "ratelimit").await;
            assert_eq!(answer, (200, r#""api";r=2;t=0"#.to_owned()));
            assert_eq!(app.left().await, 2, "it was given back before the response was sent");
        }
        for fields in [r#""api";r=1;t=60"#, r#""api";r=0;t=60"#] {
            assert_eq!(app.field("401", "ratelimit").await, (401, fields.to_owned()));
        }
        let refused = app.field("200", "retry-after").await;
        let why = "the limit is kept while nothing is given back";
        assert_eq!(refused, (429, "60".to_owned()), "{why}");
    }

    async fn the_fields_of_the_response_are_seen(&self) {
        let by_another = |from: Option<&str>| from != Some("handler");
        let options =
            Options::new().charge_if(move |response| by_another(response.header("x-from")));
        let app = self.windows(2, options).await;
        app.ask("200").await;
        assert_eq!(app.left().await, 2, "the handler's fields are seen");
    }

    async fn the_window_that_was_charged_has_it_back(&self) {
        let options = Options::new().charge_if(|response| response.status() != 304);
        let app = self.windows(2, options).await;
        let mut first = pin!(app.ask("304 later"));
        assert!(go_on(first.as_mut()).await.is_none(), "it is at work");
        assert_eq!(app.left().await, 1);
        app.clock.advance(WINDOW);
        assert_eq!(app.ask("200").await.status(), 200);
        app.handler.finish();
        let response = go_on(first).await.expect("nothing is waited for");
        assert_eq!(response.status(), 304);
        assert_eq!(app.left().await, 1, "the later window keeps its charge");
    }

    async fn who_leaves_before_the_response_stays_charged(&self) {
        let app = self.windows(2, Options::new().charge_if(|_| false)).await;
        {
            let mut leaving = Box::pin(app.ask("200 later"));
            assert!(go_on(leaving.as_mut()).await.is_none(), "it is at work");
        }
        assert_eq!((app.handler.calls(), app.left().await), (1, 1));
    }

    async fn who_leaves_while_its_charge_goes_back_is_not_charged(&self) {
        let app = self.windows(2, Options::new().charge_if(|_| false)).await;
        {
            let mut leaving = Box::pin(app.ask("200"));
            while app.handler.calls() == 0 {
                _ = poll_once(leaving.as_mut()).await;
            }
        }
        app.has_left(2, "the handler has said that it does not count").await;
    }

    async fn a_failure_is_that_of_any_request(&self) {
        let rule = || Rule::new("api", 2, WINDOW);
        let strict = Options::new().shape().charge_if(|_| true);
        let strict = self.serve(Down, rule(), strict).await;
        assert_eq!(strict.field("200", "retry-after").await, (503, "1".to_owned()));
        let open = Options::new().shape().charge_if(|_| false).on_error(OnError::Pass);
        let open = self.serve(Down, rule(), open).await;
        let answer = open.field("200", "x-ratelimit-degraded").await;
        assert_eq!(answer, (200, "unlimited".to_owned()));
        assert_eq!((strict.handler.calls(), open.handler.calls()), (0, 1));
        for options in
            [Options::new(), Options::new().shape(), Options::new().on_error(OnError::Refuse)]
        {
            let dry = self.serve(Down, rule(), options.dry_run()).await;
            let marks = ["x-ratelimit-degraded", "x-ratelimit-dry-run"];
            for (mark, value) in marks.into_iter().zip(["unlimited", "denied"]) {
                assert_eq!(dry.field("200", mark).await, (200, value.to_owned()), "a dry run");
            }
        }
    }
}
