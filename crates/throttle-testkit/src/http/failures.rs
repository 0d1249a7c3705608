//! Storage errors: the response depends on `on_error`, and the log reports them.

use std::sync::{Arc, Mutex, PoisonError};

use http::Response;
use throttle_core::{
    AtomicStorage, ChargeRequest, Decisions, Outcome, Reply, Rule, Verdict, Wrapper,
};
use throttle_http::{Headers, OnError, Options, RejectionReason};

use crate::{
    Log,
    http::{
        adapter::Adapter,
        case::get,
        fixture::{App, CLIENT, Fixture, Limits, api, field, lines},
        handler::BODY,
        run::scenarios,
    },
    storages::Failing,
};

const REDUCED_CAPACITY: &str = r#"{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","title":"Request cannot be satisfied due to temporary server capacity constraints","status":503}"#;

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn failures(&self) {
        scenarios!(
            self, "failures";
            while_the_storage_is_down_the_response_is_503_and_no_handler_is_called,
            requests_can_be_allowed_while_the_storage_fails_and_responses_report_it,
            responses_report_decisions_of_the_local_fallback,
            on_rejection_can_create_the_response_to_a_storage_error,
            removing_a_rule_does_not_remove_the_limit,
            a_failure_and_its_end_are_logged_once_each,
            the_log_names_the_rules_of_a_layer_that_fails_closed,
            a_storage_that_fails_for_every_second_request_does_not_flood_the_log,
        );
    }

    async fn failing(&self, limit: u64, options: Options) -> (Failing, App<'_, A>) {
        let storage = Failing::default();
        let limits = Limits::over(storage.clone(), [api(limit)]);
        (storage, self.app(&limits, [options]).await)
    }

    async fn while_the_storage_is_down_the_response_is_503_and_no_handler_is_called(&self) {
        let (log, _guard) = Log::start();
        let (storage, app) = self.failing(2, Options::new().response_extension(true)).await;
        assert_eq!(field(&app.call(get()).await, "ratelimit"), r#""api";r=1;t=60"#);
        storage.set_down(true);
        let response = app.call(get()).await;
        assert_eq!((response.status().as_u16(), app.handler.calls()), (503, 1));
        assert_eq!(field(&response, "retry-after"), "1");
        assert_eq!(field(&response, "content-type"), "application/problem+json");
        assert!(!response.headers().contains_key("ratelimit"), "the state of the limit is unknown");
        assert!(response.extensions().get::<Decisions>().is_none(), "nothing was decided");
        assert_eq!(response.body(), REDUCED_CAPACITY);
        let logged = log.take();
        assert!(logged.contains("ERROR") && logged.contains("connection refused"), "{logged}");
        storage.set_down(false);
        assert_eq!(field(&app.call(get()).await, "ratelimit"), r#""api";r=0;t=60"#);
        assert_eq!(app.status(get()).await, 429);
    }

    async fn requests_can_be_allowed_while_the_storage_fails_and_responses_report_it(&self) {
        let (storage, app) = self.failing(1, Options::new().on_error(OnError::Pass)).await;
        assert_eq!((app.status(get()).await, app.status(get()).await), (200, 429));
        storage.set_down(true);
        for _ in 0..3 {
            let response = app.call(get()).await;
            assert_eq!((response.status().as_u16(), &response.body()[..]), (200, BODY.as_bytes()));
            assert_eq!(field(&response, "x-ratelimit-degraded"), "unlimited");
            assert!(!response.headers().contains_key("ratelimit"));
        }
        storage.set_down(false);
        let response = app.call(get()).await;
        assert_eq!(response.status(), 429);
        assert!(!response.headers().contains_key("x-ratelimit-degraded"));
    }

    async fn responses_report_decisions_of_the_local_fallback(&self) {
        let no_fields = || Options::new().headers(Headers::none());
        let own = |options: Options| {
            options.on_rejection(|_| Response::builder().status(418).body("tea").unwrap())
        };
        for (options, rejected) in [
            (Options::new(), 429),
            (no_fields(), 429),
            (own(Options::new()), 418),
            (own(no_fields()), 418),
            (no_fields().dry_run(), 200),
            (Options::new().on_error(OnError::Pass), 429),
        ] {
            let storage = Substituted::new(self.storage());
            let app = self.app(&Limits::over(storage.clone(), [api(1)]), [options]).await;
            storage.decide_by(Substitute::Local);
            for status in [200, rejected] {
                let response = app.call(get()).await;
                assert_eq!(response.status(), status);
                assert_eq!(field(&response, "x-ratelimit-degraded"), "local");
            }
            storage.decide_by(Substitute::None);
            let response = app.call(get()).await;
            assert!(!response.headers().contains_key("x-ratelimit-degraded"));
        }
        let storage = Substituted::new(self.storage());
        let limits = Limits::over(storage.clone(), [api(1)]);
        let app = self.app(&limits, [Options::new(), Options::new()]).await;
        storage.decide_by(Substitute::FailOpen);
        let response = app.call(get()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(lines(&response, "x-ratelimit-degraded"), ["unlimited"]);
    }

    async fn on_rejection_can_create_the_response_to_a_storage_error(&self) {
        let options = Options::new().on_rejection(|rejection| {
            assert_eq!(rejection.reason(), RejectionReason::Storage);
            assert_eq!(rejection.retry_after_secs(), Some(1));
            let error = rejection.error().unwrap();
            assert!(error.to_string().contains("connection refused"), "{error}");
            Response::builder().status(418).header("x-own", "1").body("tea").unwrap()
        });
        let (storage, app) = self.failing(1, options).await;
        storage.set_down(true);
        let response = app.call(get()).await;
        assert_eq!((response.status().as_u16(), &response.body()[..]), (418, &b"tea"[..]));
        assert_eq!(field(&response, "x-own"), "1");
    }

    async fn removing_a_rule_does_not_remove_the_limit(&self) {
        for on_error in [OnError::Reject, OnError::Pass] {
            let app = self.serve([api(2)], [Options::new().rule("api").on_error(on_error)]).await;
            assert_eq!(app.status(get()).await, 200);
            assert!(app.limiter.remove_rule("api"));
            assert_eq!(app.status(get()).await, 503);
        }
    }

    async fn a_failure_and_its_end_are_logged_once_each(&self) {
        let (log, _guard) = Log::start();
        let (storage, app) = self.failing(9, Options::new()).await;
        for _ in 0..2 {
            storage.set_down(true);
            log.take();
            for _ in 0..3 {
                assert_eq!(app.status(get()).await, 503);
            }
            let lines = log.take();
            assert_eq!(lines.matches("ERROR").count(), 1, "{lines}");
            assert!(lines.contains("connection refused"), "{lines}");
            app.limiter.deny_list().add(CLIENT).unwrap();
            assert_eq!(app.status(get()).await, 403);
            assert_eq!(log.take(), "", "the deny list decides without the storage");
            app.limiter.deny_list().remove(CLIENT).unwrap();
            storage.set_down(false);
            for _ in 0..2 {
                assert_eq!(app.status(get()).await, 200);
            }
            let lines = log.take();
            assert_eq!(lines.matches("checked again").count(), 1, "{lines}");
            assert!(lines.contains("requests=3"), "{lines}");
        }
    }

    async fn the_log_names_the_rules_of_a_layer_that_fails_closed(&self) {
        let (log, _guard) = Log::start();
        let storage = Failing::default();
        let limits = Limits::over(storage.clone(), [api(9), Rule::per_minute("login", 5)]);
        let login = self.app(&limits, [Options::new().rule("login")]).await;
        let other = self.app(&limits, [Options::new().rule("api")]).await;
        storage.set_down(true);
        assert_eq!((login.status(get()).await, login.status(get()).await), (503, 503));
        let lines = log.take();
        assert!(lines.contains("login") && lines.contains("rejected with 503"), "{lines}");
        assert!(!lines.contains("api"), "{lines}");
        storage.set_down(false);
        // The end is logged although the layer gets no further request.
        assert_eq!(other.status(get()).await, 200);
        let lines = log.take();
        assert_eq!(lines.matches("checked again").count(), 1, "{lines}");
        assert!(lines.contains("login") && lines.contains("requests=2"), "{lines}");
        assert_eq!(login.status(get()).await, 200);
        assert_eq!(log.take(), "", "the end was already logged");
    }

    async fn a_storage_that_fails_for_every_second_request_does_not_flood_the_log(&self) {
        let (log, _guard) = Log::start();
        let (storage, app) = self.failing(99, Options::new()).await;
        for _ in 0..50 {
            storage.set_down(true);
            assert_eq!(app.status(get()).await, 503);
            storage.set_down(false);
            assert_eq!(app.status(get()).await, 200);
        }
        let lines = log.take();
        assert_eq!(lines.matches("ERROR").count(), 5, "{lines}");
        assert_eq!(lines.matches("checked again").count(), 5, "{lines}");
    }
}

/// The substitute that decides instead of the storage.
#[derive(Copy, Clone)]
enum Substitute {
    None,
    Local,
    FailOpen,
}

/// A storage whose answers are those of a substitute, as with `Fallback` of `throttle-resilience`.
#[derive(Clone)]
struct Substituted {
    inner: Arc<dyn AtomicStorage>,
    by: Arc<Mutex<Substitute>>,
}

impl Substituted {
    fn new(inner: Arc<dyn AtomicStorage>) -> Self {
        Self { inner, by: Arc::new(Mutex::new(Substitute::None)) }
    }

    fn decide_by(&self, substitute: Substitute) {
        *self.by.lock().unwrap_or_else(PoisonError::into_inner) = substitute;
    }
}

impl Wrapper for Substituted {
    fn inner(&self) -> &Arc<dyn AtomicStorage> {
        &self.inner
    }

    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        let by = *self.by.lock().unwrap_or_else(PoisonError::into_inner);
        self.inner.acquire(request).map(move |outcome| {
            let unlimited =
                |_: &Verdict| Verdict { allowed: true, unlimited: true, ..Verdict::default() };
            match by {
                Substitute::None => outcome,
                Substitute::Local => outcome.degraded(),
                Substitute::FailOpen => {
                    let verdicts = outcome.verdicts().iter().map(unlimited);
                    Outcome::new(verdicts, outcome.at()).degraded()
                }
            }
        })
    }
}
