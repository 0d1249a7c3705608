//! Charges that depend on the response.

use std::pin::pin;

use throttle_core::{Decisions, Rule};
use throttle_http::{OnError, Options};

use crate::{
    http::{
        adapter::Adapter,
        after::limits::WINDOW,
        fixture::{App, CLIENT, Fixture, Limits, go_on, poll_once},
        run::{scenarios, unwinding},
    },
    storages::Failing,
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn outcomes(&self) {
        scenarios!(
            self, "outcomes";
            only_failed_logins_are_charged,
            charge_if_reads_the_fields_of_the_response,
            a_refund_goes_to_the_window_that_was_charged,
            a_disconnect_before_the_response_is_charged,
            a_disconnect_during_the_refund_is_not_charged,
            a_panic_of_the_handler_is_charged,
            storage_errors_are_handled_as_for_other_requests,
            a_charge_that_the_handler_refunds_first_is_refunded_once,
            a_charge_that_the_handler_refunds_last_is_refunded_once,
            a_charge_that_the_handler_refunds_at_the_same_time_is_refunded_once,
            a_charge_that_the_handler_refunds_is_not_reconciled,
        );
    }

    async fn only_failed_logins_are_charged(&self) {
        let options = Options::new().charge_if(|response| response.status() == 401);
        let app = self.windows(2, options).await;
        for _ in 0..3 {
            let answer = app.field_of("200", "ratelimit").await;
            assert_eq!(answer, (200, r#""api";r=2;t=0"#.to_owned()));
            assert_eq!(
                app.remaining_now("api").await,
                2,
                "the charge must be refunded before the response is sent"
            );
        }
        for fields in [r#""api";r=1;t=60"#, r#""api";r=0;t=60"#] {
            assert_eq!(app.field_of("401", "ratelimit").await, (401, fields.to_owned()));
        }
        let rejected = app.field_of("200", "retry-after").await;
        assert_eq!(rejected, (429, "60".to_owned()), "the limit is used up by failed logins");
    }

    async fn charge_if_reads_the_fields_of_the_response(&self) {
        let by_another = |from: Option<&str>| from != Some("handler");
        let options =
            Options::new().charge_if(move |response| by_another(response.header("x-from")));
        let app = self.windows(2, options).await;
        app.ask("200 field=x-from:handler").await;
        assert_eq!(app.remaining_now("api").await, 2, "the request must be refunded");
    }

    async fn a_refund_goes_to_the_window_that_was_charged(&self) {
        let options = Options::new().charge_if(|response| response.status() != 304);
        let app = self.windows(2, options).await;
        let mut first = pin!(app.ask("304 wait"));
        assert!(go_on(first.as_mut()).await.is_none(), "the handler waits");
        assert_eq!(app.remaining_now("api").await, 1);
        app.clock.advance(WINDOW);
        assert_eq!(app.ask("200").await.status(), 200);
        app.handler.open();
        let response = go_on(first).await.expect("the handler continues");
        assert_eq!(response.status(), 304);
        assert_eq!(app.remaining_now("api").await, 1, "the later window must keep its charge");
    }

    async fn a_disconnect_before_the_response_is_charged(&self) {
        let app = self.windows(2, Options::new().charge_if(|_| false)).await;
        {
            let mut request = Box::pin(app.ask("200 wait"));
            assert!(go_on(request.as_mut()).await.is_none(), "the handler waits");
        }
        assert_eq!((app.handler.calls(), app.remaining_now("api").await), (1, 1));
    }

    async fn a_disconnect_during_the_refund_is_not_charged(&self) {
        let app = self.windows(2, Options::new().charge_if(|_| false)).await;
        {
            let mut request = Box::pin(app.ask("200"));
            while app.handler.calls() == 0 {
                _ = poll_once(request.as_mut()).await;
            }
        }
        app.wait_for_remaining("api", 2, "the refund must be completed").await;
    }

    async fn a_panic_of_the_handler_is_charged(&self) {
        let app = self.windows(2, Options::new().charge_if(|_| false)).await;
        assert!(unwinding(app.ask("panic")).await.is_err());
        assert_eq!(app.remaining_now("api").await, 1);
    }

    async fn a_charge_that_the_handler_refunds_first_is_refunded_once(&self) {
        let app = self.windows(5, Options::new().charge_if(|_| false)).await;
        charge_of_another(&app).await;
        let mut request = pin!(app.ask("200 wait"));
        assert!(go_on(request.as_mut()).await.is_none(), "the handler waits");
        handler_refunds(&app).await;
        assert_eq!(app.remaining_now("api").await, 3);
        app.handler.open();
        assert!(go_on(request).await.is_some(), "the request completes");
        assert_eq!(app.remaining("api").await, 3, "the charge of another request must stay");
    }

    async fn a_charge_that_the_handler_refunds_last_is_refunded_once(&self) {
        let app = self.windows(5, Options::new().charge_if(|_| false)).await;
        charge_of_another(&app).await;
        app.ask("200").await;
        assert_eq!(app.remaining_now("api").await, 3);
        handler_refunds(&app).await; // by a task that the handler started
        assert_eq!(app.remaining("api").await, 3, "the charge of another request must stay");
    }

    async fn a_charge_that_the_handler_refunds_at_the_same_time_is_refunded_once(&self) {
        for polls in 0..30 {
            let app = self.windows(5, Options::new().charge_if(|_| false)).await;
            charge_of_another(&app).await;
            let mut request = pin!(app.ask("200 wait"));
            assert!(go_on(request.as_mut()).await.is_none(), "the handler waits");
            app.handler.open();
            let mut refund = pin!(handler_refunds(&app));
            let mut is_answered = false;
            for _ in 0..polls {
                is_answered = is_answered || poll_once(request.as_mut()).await.is_some();
            }
            let is_refunded = poll_once(refund.as_mut()).await.is_some();
            assert!(is_answered || go_on(request).await.is_some(), "the request completes");
            assert!(is_refunded || go_on(refund).await.is_some(), "the request completes");
            assert_eq!(app.remaining("api").await, 3, "after {polls} polls");
        }
    }

    async fn a_charge_that_the_handler_refunds_is_not_reconciled(&self) {
        let app = self.windows(5, Options::new().charge_actual_by(|_| Some(0))).await;
        charge_of_another(&app).await;
        let mut request = pin!(app.ask("200 wait"));
        assert!(go_on(request.as_mut()).await.is_none(), "the handler waits");
        handler_refunds(&app).await;
        app.handler.open();
        assert!(go_on(request).await.is_some(), "the request completes");
        assert_eq!(app.remaining("api").await, 3, "the charge of another request must stay");
    }

    async fn storage_errors_are_handled_as_for_other_requests(&self) {
        let down = || {
            let storage = Failing::default();
            storage.set_down(true);
            Limits::over(storage, [Rule::new("api", 2, WINDOW)])
        };
        let options = Options::new().shape().charge_if(|_| true);
        let fail_closed = self.app(&down(), [options]).await;
        assert_eq!(fail_closed.field_of("200", "retry-after").await, (503, "1".to_owned()));
        let options = Options::new().shape().charge_if(|_| false).on_error(OnError::Pass);
        let fail_open = self.app(&down(), [options]).await;
        let answer = fail_open.field_of("200", "x-ratelimit-degraded").await;
        assert_eq!(answer, (200, "unlimited".to_owned()));
        assert_eq!((fail_closed.handler.calls(), fail_open.handler.calls()), (0, 1));
        for options in
            [Options::new(), Options::new().shape(), Options::new().on_error(OnError::Reject)]
        {
            let dry = self.app(&down(), [options.dry_run()]).await;
            let marks = ["x-ratelimit-degraded", "x-ratelimit-dry-run"];
            for (mark, value) in marks.into_iter().zip(["unlimited", "denied"]) {
                assert_eq!(dry.field_of("200", mark).await, (200, value.to_owned()), "a dry run");
            }
        }
    }
}

/// Charges 2 with a request that is not refunded.
async fn charge_of_another<A: Adapter>(app: &App<'_, A>) {
    app.limiter.check_cost(CLIENT, "api", 2).await.expect("the storage answers");
}

/// Refunds the decisions that the handler found, as a handler may do.
async fn handler_refunds<A: Adapter>(app: &App<'_, A>) {
    let decisions: Decisions = app.handler.seen().expect("the request was decided");
    let refunded = app.limiter.rollback(CLIENT, decisions.all()).await;
    refunded.expect("the storage answers");
}
