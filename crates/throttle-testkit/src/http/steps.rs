//! The steps of an adapter, one by one, so that a failure names the step that is missing.
//!
//! Nothing else is run until these pass, because each missing step makes hundreds of scenarios fail.

use throttle_core::{ConcurrencyLimit, Decisions};
use throttle_http::Options;

use crate::http::{
    adapter::Adapter,
    case::{get, get_from},
    fixture::{App, CLIENT, Fixture, Limits, api, ask_for, background, field},
    handler::{BODY, Handler},
    run::scenarios,
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn steps(&self) {
        self.steps_on_the_wire().await;
        scenarios!(
            self, "steps";
            attach_the_pass_to_the_request,
            insert_the_decisions_into_the_extensions_of_the_response,
            finish_with_the_head_of_the_response,
            keep_the_guard_until_the_body_has_ended,
            drop_the_guard_when_the_body_ends_before_the_body_is_dropped,
            drop_the_guard_when_the_body_fails_before_the_body_is_dropped,
            report_the_sent_bytes_to_the_guard,
        );
    }

    /// Runs the steps that a client can observe.
    pub(super) async fn steps_on_the_wire(&self) {
        scenarios!(
            self, "steps";
            pass_the_request_with_its_fields_to_the_handler,
            return_the_response_with_its_fields_and_body,
            pass_the_peer_address,
            write_the_fields_of_the_limit,
            return_the_rejection_without_calling_the_handler,
        );
    }

    async fn pass_the_request_with_its_fields_to_the_handler(&self) {
        let app = self.step(9, Options::new()).await;
        let response = app.call(ask_for("418")).await;
        let (status, body) = (response.status(), response.body());
        let calls = app.handler.calls();
        assert_eq!(calls, 1, "the handler must be called once; the response is {status}, {body:?}");
        assert_eq!(
            status, 418,
            "the request must have the field x-do, which sets the status of the handler"
        );
    }

    async fn return_the_response_with_its_fields_and_body(&self) {
        let app = self.step(9, Options::new()).await;
        let response = app.ask("field=x-from:handler").await;
        assert_eq!(
            field(&response, "x-from"),
            "handler",
            "the response must keep the fields of the handler"
        );
        assert_eq!(response.body(), BODY, "the response must keep the body of the handler");
    }

    async fn pass_the_peer_address(&self) {
        let app = self.step(9, Options::new()).await;
        let status = app.status(get()).await;
        assert_eq!(
            status, 200,
            "a request from {CLIENT} must be allowed: pass its peer address to RequestHead"
        );
        assert_eq!(app.status(get_from("192.0.2.2")).await, 200);
        assert_eq!(
            app.remaining("api").await,
            8,
            "remaining of 9 for {CLIENT} after one request: each client must have its own key"
        );
    }

    async fn write_the_fields_of_the_limit(&self) {
        let app = self.step(9, Options::new()).await;
        let (_, limit) = app.field_of("", "ratelimit").await;
        assert_eq!(
            limit, r#""api";r=8;t=60"#,
            "the response must have the field ratelimit: call Done::write or Done::write_to"
        );
    }

    async fn return_the_rejection_without_calling_the_handler(&self) {
        let app = self.step(1, Options::new()).await;
        assert_eq!(app.status(get()).await, 200);
        let response = app.call(get()).await;
        assert_eq!(
            response.status(),
            429,
            "the second request must be rejected: return the rejection of Throttle::check"
        );
        assert_eq!(app.handler.calls(), 1, "the handler must not be called for a rejected request");
        let (fields, body) = (response.headers(), response.body());
        assert!(
            fields.contains_key("retry-after"),
            "the rejection must keep its fields: {fields:?}"
        );
        assert!(body.starts_with(b"{"), "the rejection must keep its body: {body:?}");
    }

    async fn attach_the_pass_to_the_request(&self) {
        let app = self.step(9, Options::new()).await;
        app.call(get()).await;
        assert!(
            app.handler.seen::<Decisions>().is_some(),
            "the request must have Decisions in its extensions: call Pass::attach before the handler"
        );
    }

    async fn insert_the_decisions_into_the_extensions_of_the_response(&self) {
        let app = self.step(1, Options::new().response_extension(true)).await;
        for name in ["response of the handler: Done::write_to returns them", "rejection"] {
            let response = app.call(get()).await;
            let inserted = response.extensions().get::<Decisions>().is_some();
            assert!(inserted, "Decisions must be in the extensions of the {name}");
        }
    }

    async fn finish_with_the_head_of_the_response(&self) {
        let counts = |status, field: Option<&str>| status == 401 && field == Some("login");
        let options =
            Options::new().charge_if(move |head| counts(head.status(), head.header("x-from")));
        let app = self.step(9, options).await;
        app.ask("200 field=x-from:login").await;
        assert_eq!(
            app.remaining("api").await,
            9,
            "a response with 200 must not be charged: call Attached::finish"
        );
        app.ask("401 field=x-from:login").await;
        assert_eq!(
            app.remaining("api").await,
            8,
            "a response with 401 must be charged: pass its status and fields to Attached::finish"
        );
    }

    async fn keep_the_guard_until_the_body_has_ended(&self) {
        let (app, uploads) = self.permits().await;
        let mut response = app.begin("stream").await;
        app.handler.send("piece");
        response.body_mut().piece().await;
        let in_use = uploads.in_use(CLIENT).await.unwrap();
        assert_eq!(
            in_use, 1,
            "the permit must be held while the body is sent: keep the guard that Done::write returns"
        );
        drop(response);
        background().await;
        let in_use = uploads.in_use(CLIENT).await.unwrap();
        assert_eq!(in_use, 0, "the permit must be released when the body is dropped");
    }

    async fn drop_the_guard_when_the_body_ends_before_the_body_is_dropped(&self) {
        self.guard_after(Handler::end).await;
    }

    async fn drop_the_guard_when_the_body_fails_before_the_body_is_dropped(&self) {
        self.guard_after(Handler::fail).await;
    }

    async fn guard_after(&self, end: fn(&Handler)) {
        let (app, uploads) = self.permits().await;
        let mut response = app.begin("stream").await;
        end(&app.handler);
        while response.body_mut().next().await.is_some_and(|piece| piece.is_ok()) {}
        let in_use = uploads.in_use(CLIENT).await.unwrap();
        assert_eq!(
            in_use, 0,
            "the permit must be released after the last piece: drop the guard there"
        );
    }

    async fn report_the_sent_bytes_to_the_guard(&self) {
        let by_bytes = Options::new().cost(10).charge_actual().charge_bytes_sent();
        let app = self.step(100, by_bytes).await;
        app.call(get()).await;
        let left = app.remaining("api").await;
        assert_eq!(
            left, 95,
            "remaining of 100 after a body of 5 bytes: report each piece by BodyGuard::sent"
        );
    }

    /// Creates a service with a limit.
    async fn step(&self, limit: u64, options: Options) -> App<'_, A> {
        self.used_app(&self.limits([api(limit)]), options).await
    }

    /// Creates a service whose requests hold a permit.
    async fn permits(&self) -> (App<'_, A>, ConcurrencyLimit) {
        let limits = self.limits([api(9)]);
        let uploads = limits.limiter.concurrency("uploads", 1).unwrap();
        let app = self.used_app(&limits, Options::new().concurrency(uploads.clone())).await;
        (app, uploads)
    }

    /// Creates a service whose limiter has already checked another client. If many limiters check only one request
    /// each, a warning is logged once per process. A later scenario checks this warning, so no other may cause it.
    async fn used_app(&self, limits: &Limits, options: Options) -> App<'_, A> {
        limits.limiter.check("another client", "api").await.unwrap();
        self.app(limits, [options]).await
    }
}
