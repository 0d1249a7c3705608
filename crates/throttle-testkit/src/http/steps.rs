//! The steps of an adapter, one by one: what fails says which step is missing.
//!
//! Nothing else is run before these pass, since hundreds of scenarios fail for each of them.

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
            attach_the_pass_to_the_request_of_the_handler,
            insert_the_decisions_into_the_extensions_of_the_response,
            finish_with_the_head_of_the_response,
            keep_the_guard_until_the_body_has_ended,
            drop_the_guard_where_the_body_has_ended_though_the_body_is_still_there,
            drop_the_guard_where_the_body_fails_though_the_body_is_still_there,
            tell_the_guard_how_many_bytes_are_sent,
        );
    }

    /// Those that can be seen from outside.
    pub(super) async fn steps_on_the_wire(&self) {
        scenarios!(
            self, "steps";
            hand_the_request_with_its_fields_to_the_handler,
            return_the_response_with_its_fields_and_body,
            say_where_the_connection_comes_from,
            write_the_fields_of_the_limit,
            return_the_rejection_and_do_not_call_the_handler,
        );
    }

    async fn hand_the_request_with_its_fields_to_the_handler(&self) {
        let app = self.step(9, Options::new()).await;
        let response = app.call(ask_for("418")).await;
        let (status, body) = (response.status(), response.body());
        let calls = app.handler.calls();
        assert_eq!(
            calls, 1,
            "calls of the handler; the answer to the client is {status}, {body:?}"
        );
        assert_eq!(status, 418, "the handler answers with the status that the field x-do asks for");
    }

    async fn return_the_response_with_its_fields_and_body(&self) {
        let app = self.step(9, Options::new()).await;
        let response = app.ask("field=x-from:handler").await;
        assert_eq!(field(&response, "x-from"), "handler", "a field of the handler's response");
        assert_eq!(response.body(), BODY, "the body of the handler's response");
    }

    async fn say_where_the_connection_comes_from(&self) {
        let app = self.step(9, Options::new()).await;
        let status = app.status(get()).await;
        assert_eq!(status, 200, "of a request from {CLIENT}: give its address to RequestHead");
        assert_eq!(app.status(get_from("192.0.2.2")).await, 200);
        assert_eq!(
            app.left_of("api").await,
            8,
            "is left to {CLIENT}, by whom one request was made"
        );
    }

    async fn write_the_fields_of_the_limit(&self) {
        let app = self.step(9, Options::new()).await;
        let (_, limit) = app.field_of("", "ratelimit").await;
        assert_eq!(limit, r#""api";r=8;t=60"#, "the field ratelimit, by Done::write or write_to");
    }

    async fn return_the_rejection_and_do_not_call_the_handler(&self) {
        let app = self.step(1, Options::new()).await;
        assert_eq!(app.status(get()).await, 200);
        let response = app.call(get()).await;
        assert_eq!(response.status(), 429, "of a request that is rejected");
        assert_eq!(app.handler.calls(), 1, "calls of the handler: one is allowed, one rejected");
        let (fields, body) = (response.headers(), response.body());
        assert!(fields.contains_key("retry-after"), "a rejection has lost its fields: {fields:?}");
        assert!(body.starts_with(b"{"), "a rejection has lost its body: {body:?}");
    }

    async fn attach_the_pass_to_the_request_of_the_handler(&self) {
        let app = self.step(9, Options::new()).await;
        app.call(get()).await;
        assert!(
            app.handler.seen::<Decisions>().is_some(),
            "the handler has no Decisions in the extensions of its request: Pass::attach puts them there"
        );
    }

    async fn insert_the_decisions_into_the_extensions_of_the_response(&self) {
        let app = self.step(1, Options::new().response_extension(true)).await;
        for of in ["handler's response: Done::write_to returns them", "rejection"] {
            let response = app.call(get()).await;
            let has_them = response.extensions().get::<Decisions>().is_some();
            assert!(has_them, "there are no Decisions in the extensions of the {of}");
        }
    }

    async fn finish_with_the_head_of_the_response(&self) {
        let counts = |status, field: Option<&str>| status == 401 && field == Some("login");
        let options =
            Options::new().charge_if(move |head| counts(head.status(), head.header("x-from")));
        let app = self.step(9, options).await;
        app.ask("200 field=x-from:login").await;
        assert_eq!(app.left_of("api").await, 9, "a response that does not count is given back");
        app.ask("401 field=x-from:login").await;
        assert_eq!(app.left_of("api").await, 8, "Attached::finish sees the status and the fields");
    }

    async fn keep_the_guard_until_the_body_has_ended(&self) {
        let (app, uploads) = self.permits().await;
        let mut response = app.begin("stream").await;
        app.handler.send("piece");
        response.body_mut().piece().await;
        let in_use = uploads.in_use(CLIENT).await.unwrap();
        assert_eq!(
            in_use, 1,
            "permits are held while the body is sent, by what Done::write returns"
        );
        drop(response);
        background().await;
        let in_use = uploads.in_use(CLIENT).await.unwrap();
        assert_eq!(in_use, 0, "permits are held when the client has left and the body is dropped");
    }

    async fn drop_the_guard_where_the_body_has_ended_though_the_body_is_still_there(&self) {
        self.guard_after(Handler::end).await;
    }

    async fn drop_the_guard_where_the_body_fails_though_the_body_is_still_there(&self) {
        self.guard_after(Handler::fail).await;
    }

    async fn guard_after(&self, end: fn(&Handler)) {
        let (app, uploads) = self.permits().await;
        let mut response = app.begin("stream").await;
        end(&app.handler);
        while response.body_mut().next().await.is_some_and(|piece| piece.is_ok()) {}
        let in_use = uploads.in_use(CLIENT).await.unwrap();
        assert_eq!(in_use, 0, "permits are held after the last piece of the body");
    }

    async fn tell_the_guard_how_many_bytes_are_sent(&self) {
        let by_bytes = Options::new().cost(10).charge_actual().charge_bytes_sent();
        let app = self.step(100, by_bytes).await;
        app.call(get()).await;
        let left = app.left_of("api").await;
        assert_eq!(left, 95, "is left of 100 after five bytes: BodyGuard::sent takes their number");
    }

    /// Makes a service with a limit.
    async fn step(&self, limit: u64, options: Options) -> App<'_, A> {
        self.asked(&self.limits([api(limit)]), options).await
    }

    /// Makes a service that holds a permit of each request.
    async fn permits(&self) -> (App<'_, A>, ConcurrencyLimit) {
        let limits = self.limits([api(9)]);
        let uploads = limits.limiter.concurrency("uploads", 1).unwrap();
        let app = self.asked(&limits, Options::new().concurrency(uploads.clone())).await;
        (app, uploads)
    }

    /// Makes a service whose limiter has another client. Limiters that are asked once are logged, once in a
    /// process, and that is checked later.
    async fn asked(&self, limits: &Limits, options: Options) -> App<'_, A> {
        limits.limiter.check("another client", "api").await.unwrap();
        self.app(limits, [options]).await
    }
}
