//! Requests in flight: when a permit is held, and when it is released.

use std::pin::pin;

use throttle_core::{ConcurrencyLimit, Rule};
use throttle_http::{InFlight, OnError, Options, RequestHead};

use crate::{
    http::{
        adapter::Adapter,
        body::Reader,
        fixture::{
            App, CLIENT, Fixture, Limits, api, background, go_on, join_all, lines, poll_once,
        },
        run::{scenarios, unwinding},
    },
    storages::Failing,
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn in_flight(&self) {
        scenarios!(
            self, "in flight";
            a_permit_is_held_until_the_end_of_the_body,
            a_body_that_fails_releases_the_permit,
            a_disconnect_during_the_body_releases_the_permit,
            a_disconnect_before_the_response_releases_the_permit,
            a_disconnect_while_the_rules_are_checked_releases_the_permit,
            a_handler_that_panics_releases_the_permit,
            a_body_that_panics_releases_the_permit,
            a_request_that_is_never_polled_holds_no_permit,
            a_kept_permit_outlives_the_response,
            kept_extensions_hold_no_permit,
            nested_layers_hold_and_release_one_permit_each,
            a_dry_run_holds_no_permit_for_requests_that_a_rule_would_reject,
            a_storage_error_leaks_no_permit,
            concurrent_requests_in_the_handler_never_exceed_the_limit,
        );
    }

    async fn uploads(&self, limit: u64) -> (App<'_, A>, ConcurrencyLimit) {
        let limits = self.limits([]);
        let uploads = limits.limiter.concurrency("uploads", limit).unwrap();
        let app = self.app(&limits, [Options::new().concurrency(uploads.clone())]).await;
        (app, uploads)
    }

    async fn a_permit_is_held_until_the_end_of_the_body(&self) {
        let (app, uploads) = self.uploads(1).await;
        let mut response = app.begin("stream").await;
        for _ in 0..3 {
            app.handler.send("chunk");
            assert_eq!(response.body_mut().piece().await, "chunk");
            assert_eq!((in_use(&uploads).await, app.ask("").await.status().as_u16()), (1, 429));
        }
        app.handler.end();
        assert!(response.body_mut().next().await.is_none());
        assert_eq!(
            in_use(&uploads).await,
            0,
            "the permit must be released at the end of the body, before the body is dropped"
        );
        assert_eq!(app.ask("").await.status(), 200);
    }

    async fn a_body_that_fails_releases_the_permit(&self) {
        let (app, uploads) = self.uploads(1).await;
        let mut response = app.begin("stream").await;
        app.handler.fail();
        assert!(response.body_mut().next().await.is_some_and(|piece| piece.is_err()));
        assert_eq!(in_use(&uploads).await, 0);
    }

    async fn a_disconnect_during_the_body_releases_the_permit(&self) {
        let (app, uploads) = self.uploads(1).await;
        let mut response = app.begin("stream").await;
        app.handler.send("half");
        response.body_mut().piece().await;
        assert_eq!(in_use(&uploads).await, 1);
        drop(response);
        assert_eq!(in_use(&uploads).await, 0);
    }

    async fn a_disconnect_before_the_response_releases_the_permit(&self) {
        let (app, uploads) = self.uploads(1).await;
        {
            let mut request = pin!(app.ask("wait"));
            assert!(go_on(request.as_mut()).await.is_none(), "the handler waits");
            assert_eq!(in_use(&uploads).await, 1);
        }
        background().await;
        assert_eq!(in_use(&uploads).await, 0);
    }

    async fn a_disconnect_while_the_rules_are_checked_releases_the_permit(&self) {
        let limits = self.limits([Rule::per_minute("api", 5)]);
        let uploads = limits.limiter.concurrency("uploads", 1).unwrap();
        let options = Options::new().rule("api").concurrency(uploads.clone());
        let app = self.app(&limits, [options]).await;
        for polls in 0..12 {
            {
                let mut request = pin!(app.ask(""));
                for _ in 0..polls {
                    if poll_once(request.as_mut()).await.is_some() {
                        break;
                    }
                }
            }
            background().await;
            assert_eq!(in_use(&uploads).await, 0, "after {polls} polls");
        }
    }

    async fn a_handler_that_panics_releases_the_permit(&self) {
        let (app, uploads) = self.uploads(1).await;
        assert!(unwinding(app.ask("panic")).await.is_err());
        assert_eq!(in_use(&uploads).await, 0);
    }

    async fn a_body_that_panics_releases_the_permit(&self) {
        let (app, uploads) = self.uploads(1).await;
        let mut response = app.begin("half").await;
        assert_eq!(response.body_mut().piece().await, "half");
        assert_eq!(in_use(&uploads).await, 1);
        assert!(unwinding(Reader::whole(response)).await.is_err());
        assert_eq!((in_use(&uploads).await, app.ask("").await.status().as_u16()), (0, 200));
    }

    async fn a_request_that_is_never_polled_holds_no_permit(&self) {
        let (app, uploads) = self.uploads(1).await;
        drop(app.ask(""));
        assert_eq!((in_use(&uploads).await, app.handler.calls()), (0, 0));
    }

    async fn a_kept_permit_outlives_the_response(&self) {
        let (app, uploads) = self.uploads(1).await;
        assert_eq!(app.ask("keep").await.status(), 200);
        assert_eq!((in_use(&uploads).await, app.ask("").await.status().as_u16()), (1, 429));
        app.handler.release();
        assert_eq!(in_use(&uploads).await, 0);
    }

    async fn kept_extensions_hold_no_permit(&self) {
        let (app, uploads) = self.uploads(1).await;
        app.ask("").await;
        assert_eq!(in_use(&uploads).await, 0);
        let in_flight = app.handler.seen::<InFlight>().expect("the request was in flight");
        let _nothing = in_flight.keep();
        assert_eq!(in_use(&uploads).await, 0);
    }

    async fn nested_layers_hold_and_release_one_permit_each(&self) {
        let limits = self.limits([]);
        let all = limits.limiter.concurrency("all", 3).unwrap();
        let each = limits.limiter.concurrency("each", 1).unwrap();
        let outer =
            Options::new().key(|_: &RequestHead<'_>| Some("all clients")).concurrency(all.clone());
        let inner = Options::new().concurrency(each.clone());
        let app = self.app(&limits, [inner, outer]).await;
        let used = async || (all.in_use("all clients").await.unwrap(), in_use(&each).await);

        let first = app.begin("stream").await;
        assert_eq!(used().await, (1, 1));
        let rejected = app.ask("").await;
        assert_eq!(rejected.status(), 429);
        let both = r#""each";q=1;qu="concurrent-requests", "all";q=3;qu="concurrent-requests""#;
        assert_eq!(lines(&rejected, "ratelimit-policy"), [both]);
        drop(rejected);
        assert_eq!(used().await, (1, 1), "the outer permit is released");
        drop(first);
        assert_eq!(used().await, (0, 0));

        assert_eq!(app.ask("keep").await.status(), 200);
        assert_eq!(used().await, (1, 1), "the handler keeps the permits");
        app.handler.release();
        assert_eq!(used().await, (0, 0));
    }

    async fn a_dry_run_holds_no_permit_for_requests_that_a_rule_would_reject(&self) {
        let limits = self.limits([api(1)]);
        let uploads = limits.limiter.concurrency("uploads", 5).unwrap();
        let options = Options::new().rule("api").dry_run().concurrency(uploads.clone());
        let app = self.app(&limits, [options]).await;
        for expected in [1, 0, 0] {
            let mut waiting = pin!(app.ask("wait"));
            assert!(go_on(waiting.as_mut()).await.is_none(), "the handler waits");
            assert_eq!(in_use(&uploads).await, expected);
        }
        let metrics = app.limiter.metrics();
        assert_eq!((app.handler.calls(), metrics.total, metrics.denied), (3, 3, 2));
    }

    async fn a_storage_error_leaks_no_permit(&self) {
        let storage = Failing::default();
        let limits = Limits::over(storage.clone(), [Rule::per_minute("api", 5)]);
        let uploads = limits.limiter.concurrency("uploads", 2).unwrap();
        let options = || Options::new().rule("api").concurrency(uploads.clone());
        let fail_closed = self.app(&limits, [options()]).await;
        let fail_open = self.app(&limits, [options().on_error(OnError::Pass)]).await;
        storage.set_down(true);
        assert_eq!((fail_closed.ask("").await.status().as_u16(), in_use(&uploads).await), (503, 0));
        let allowed = fail_open.begin("").await;
        let status = allowed.status().as_u16();
        assert_eq!((status, in_use(&uploads).await), (200, 1), "an allowed request holds a permit");
        drop(allowed);
        assert_eq!(in_use(&uploads).await, 0);
    }

    async fn concurrent_requests_in_the_handler_never_exceed_the_limit(&self) {
        let (app, uploads) = self.uploads(3).await;
        let mut requests: Vec<_> = (0..100).map(|_| Box::pin(app.ask("wait"))).collect();
        let mut waiting = Vec::new();
        for mut one in requests.drain(..) {
            match go_on(one.as_mut()).await {
                Some(rejected) => assert_eq!(rejected.status(), 429),
                None => waiting.push(one),
            }
        }
        assert_eq!((waiting.len(), app.handler.calls(), in_use(&uploads).await), (3, 3, 3));
        app.handler.open();
        for allowed in join_all(waiting).await {
            assert_eq!(allowed.status(), 200);
        }
        assert_eq!(in_use(&uploads).await, 0);
    }
}

async fn in_use(uploads: &ConcurrencyLimit) -> u64 {
    uploads.in_use(CLIENT).await.unwrap()
}
