//! Single options. The table of cases covers them in combination.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use throttle_core::{Rule, Storage, Value};
use throttle_http::{
    Headers, Options, Rejection, RequestHead,
    identity::{ClientIp, Header, RoutePattern},
};

use crate::http::{
    adapter::{Adapter, Layer},
    case::{ask_by, get, get_path, with},
    fixture::{App, CLIENT, Fixture, Limits, api, field},
    run::scenarios,
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn options(&self) {
        scenarios!(
            self, "options";
            rule_and_limit_select_the_rules,
            key_sets_the_key,
            routes_have_separate_keys_and_other_paths_share_one,
            cost_may_be_a_number_or_a_function,
            methods_and_exempt_restrict_the_limited_requests,
            headers_selects_the_fields,
            on_rejection_answers_with_any_kind_of_body,
            dry_run_rejects_nothing,
            a_disabled_layer_does_nothing,
            a_layer_counts_in_the_storage_of_its_limiter,
            layers_of_one_limiter_share_its_limit,
        );
    }

    async fn of(&self, limit: u64, options: Options) -> App<'_, A> {
        self.serve([api(limit)], [options]).await
    }

    async fn rule_and_limit_select_the_rules(&self) {
        let limits = self.limits([api(1), Rule::per_day("daily", 5)]);
        let policy = async |options| {
            let response = self.app(&limits, [options]).await.call(get()).await;
            field(&response, "ratelimit-policy").to_owned()
        };
        let all = policy(Options::new()).await;
        assert!(all.starts_with(r#""api";q=1;w=60, "daily";q=5"#), "{all}");
        assert_eq!(policy(Options::new().rule("daily")).await, r#""daily";q=5;w=86400"#);
        let added = Options::new().limit("login", "2/minute").rule("daily");
        assert_eq!(policy(added).await, r#""login";q=2;w=60, "daily";q=5;w=86400"#);
    }

    async fn key_sets_the_key(&self) {
        let key = (Header::new("x-tenant"), ClientIp::new());
        let app = self.of(1, Options::new().key(key)).await;
        let tenant = |tenant| with(get(), "x-tenant", tenant);
        assert_eq!(app.status(tenant("a")).await, 200);
        assert_eq!(app.status(tenant("a")).await, 429);
        assert_eq!(app.status(tenant("b")).await, 200);
        assert_eq!(app.status(get()).await, 400);
    }

    async fn routes_have_separate_keys_and_other_paths_share_one(&self) {
        let app = self.of(1, Options::new().key((RoutePattern, ClientIp::new()))).await;
        let mut statuses = Vec::new();
        for path in ["/users/1", "/users/2", "/nothing", "/nowhere"] {
            statuses.push(app.status(get_path(path)).await);
        }
        match statuses[..] {
            [200, 429, 429, 429] => self.run.unchecked("routes"),
            _ => assert_eq!(statuses, [200, 429, 200, 429]),
        }
    }

    async fn cost_may_be_a_number_or_a_function(&self) {
        let app = self.of(4, Options::new().cost(3)).await;
        assert_eq!((app.status(get()).await, app.status(get()).await), (200, 429));
        let fields = |head: &RequestHead<'_>| head.headers().len() as u64 + 3;
        let app = self.of(4, Options::new().cost(fields)).await;
        let more = with(get(), "x-more", "1");
        assert_eq!((app.status(get()).await, app.status(more).await), (200, 429));
    }

    async fn methods_and_exempt_restrict_the_limited_requests(&self) {
        let options = Options::new().methods([Method::POST]);
        let app = self.of(1, options.exempt(|head| head.header("x-in").is_some())).await;
        assert_eq!(app.status(ask_by(Method::POST)).await, 200);
        assert_eq!(app.status(ask_by(Method::POST)).await, 429);
        assert_eq!(app.status(ask_by(Method::GET)).await, 200);
        assert_eq!(app.status(with(ask_by(Method::POST), "x-in", "1")).await, 200);
        let reads = self.of(1, Options::new().methods([Method::GET])).await;
        assert_eq!(reads.status(ask_by(Method::HEAD)).await, 200);
        assert_eq!(reads.status(ask_by(Method::HEAD)).await, 429, "a limit of GET applies to HEAD");
        assert_eq!(reads.status(ask_by(Method::POST)).await, 200);
    }

    async fn headers_selects_the_fields(&self) {
        let app = self.of(1, Options::new().headers(Headers::none().legacy(true))).await;
        let response = app.call(get()).await;
        assert_eq!(field(&response, "x-ratelimit-remaining"), "0");
        assert!(!response.headers().contains_key("ratelimit"));
    }

    async fn on_rejection_answers_with_any_kind_of_body(&self) {
        fn empty<T: Default>(_: &Rejection<'_>) -> Response<T> {
            Response::builder().status(StatusCode::IM_A_TEAPOT).body(T::default()).unwrap()
        }
        for options in [
            Options::new().on_rejection(empty::<&'static str>),
            Options::new().on_rejection(empty::<String>),
            Options::new().on_rejection(empty::<Vec<u8>>),
            Options::new().on_rejection(empty::<Bytes>),
        ] {
            let app = self.of(1, options).await;
            assert_eq!((app.status(get()).await, app.status(get()).await), (200, 418));
            assert_eq!(field(&app.call(get()).await, "retry-after"), "60");
        }
    }

    async fn dry_run_rejects_nothing(&self) {
        let app = self.of(1, Options::new().dry_run()).await;
        assert_eq!(app.status(get()).await, 200);
        let response = app.call(get()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(field(&response, "x-ratelimit-dry-run"), "denied");
    }

    /// No function of the options is called, no request is counted, and the configuration is still checked.
    async fn a_disabled_layer_does_nothing(&self) {
        let never = |_: &RequestHead<'_>| -> Option<String> { panic!("a key is read") };
        let options = Options::new().key(never).exempt(|_| panic!("an exemption is read"));
        let options = options.on_rejection(|_| -> Response<Bytes> { panic!("a rejection") });
        let app = self.of(1, options.clone().enabled(false)).await;
        for _ in 0..3 {
            let response = app.call(get()).await;
            assert_eq!(response.status(), 200);
            let fields: Vec<_> = response.headers().keys().map(|name| name.as_str()).collect();
            assert!(!fields.iter().any(|name| name.contains("ratelimit")), "{fields:?}");
        }
        assert_eq!(app.limiter.metrics().total, 0);

        let app = self.of(1, Options::new().enabled(false).enabled(true)).await;
        assert_eq!([app.status(get()).await, app.status(get()).await], [200, 429]);
        let limits = self.limits([api(1)]);
        let invalid = Layer::new(&limits.limiter, Options::new().rule("x").enabled(false));
        assert!(self.error(&limits, invalid).await.contains("\"x\""));
    }

    async fn a_layer_counts_in_the_storage_of_its_limiter(&self) {
        let app = self.of(1, Options::new()).await;
        app.limiter.storage().set("mine", Value::from(1), None).await.unwrap();
        assert_eq!(app.status(get()).await, 200);
        assert!(!app.limiter.peek(CLIENT, "api").await.unwrap().is_allowed());
        app.limiter.reset(CLIENT, "api").await.unwrap();
        assert_eq!(app.status(get()).await, 200);
    }

    async fn layers_of_one_limiter_share_its_limit(&self) {
        let boxed: Box<dyn Storage> = Box::new(crate::storages::Later::default());
        let memory: Arc<dyn Storage> = Arc::new(throttle_memory::MemoryStorage::new());
        for storage in [memory, Arc::from(boxed)] {
            let limits = Limits::over(storage, [api(2)]);
            let one = self.app(&limits, [Options::new()]).await;
            let other = self.app(&limits, [Options::new()]).await;
            let statuses =
                [one.status(get()).await, other.status(get()).await, one.status(get()).await];
            assert_eq!(statuses, [200, 200, 429]);
        }
    }
}
