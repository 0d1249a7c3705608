//! Warnings that are logged once per process.

use throttle_core::Rule;
use throttle_http::{Options, RequestHead};
use throttle_memory::MemoryStorage;

use crate::{
    Log,
    http::{
        adapter::Adapter,
        case::{get, with},
        fixture::{Fixture, Limits, api},
        run::scenarios,
    },
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn once(&self) {
        scenarios!(
            self, "once";
            a_limiter_per_request_is_warned_about,
            requests_that_one_rule_charges_twice_are_warned_about,
            a_replaced_field_of_the_handler_is_warned_about,
        );
    }

    async fn a_limiter_per_request_is_warned_about(&self) {
        let (log, _guard) = Log::start();
        let mut logged = String::new();
        for nth in 0..100 {
            self.request_once(&Limits::over(MemoryStorage::new(), [Rule::per_day("api", 1)])).await;
            logged += &log.take();
            assert!(
                nth >= 31 || logged.is_empty(),
                "warned too early, after {nth} limiters: {logged}"
            );
        }
        assert_eq!(logged.lines().count(), 1, "{logged}");
        for word in ["WARN", "32 limiters", "create the layer once"] {
            assert!(logged.contains(word), "{word} is not in: {logged}");
        }
        let limits = Limits::over(MemoryStorage::new(), [api(1000)]);
        for _ in 0..100 {
            self.request_once(&limits).await;
        }
        assert_eq!(log.take(), "", "many layers of one limiter are not an error");
    }

    async fn request_once(&self, limits: &Limits) {
        let app = self.app(limits, [Options::new()]).await;
        assert_eq!(app.status(get()).await, 200);
    }

    async fn requests_that_one_rule_charges_twice_are_warned_about(&self) {
        let (log, _guard) = Log::start();
        let limits = self.limits([api(99), Rule::per_day("daily", 99)]);
        let rule = |rule: &str| Options::new().rule(rule);
        let separate = self.app(&limits, [rule("api"), rule("daily")]).await;
        let by_key = rule("api").key(|_: &RequestHead<'_>| "all");
        let by_two_keys = self.app(&limits, [rule("api"), by_key]).await;
        for _ in 0..16 {
            assert_eq!((by_two_keys.status(get()).await, separate.status(get()).await), (200, 200));
        }
        assert_eq!(
            log.take(),
            "",
            "two layers with different rules or different keys are not an error"
        );

        let twice = self.app(&limits, [rule("api").cost(2), rule("api")]).await;
        for _ in 0..16 {
            assert_eq!(twice.status(get()).await, 200);
        }
        let lines = log.take();
        assert_eq!(lines.lines().count(), 1, "{lines}");
        for word in ["WARN", "\"api\"", "twice"] {
            assert!(lines.contains(word), "{word} is not in: {lines}");
        }
    }

    async fn a_replaced_field_of_the_handler_is_warned_about(&self) {
        let (log, _guard) = Log::start();
        let app = self.app(&self.limits([api(99)]), [Options::new()]).await;
        for list in [r#"field=ratelimit:"a";r=1"#, "field=ratelimit:"] {
            assert_eq!(app.status(with(get(), "x-do", list)).await, 200);
        }
        assert_eq!(log.take(), "", "list fields are kept, and an empty field is not replaced");
        for _ in 0..3 {
            let older = with(get(), "x-do", "field=ratelimit-policy:limit=9");
            assert_eq!(app.status(older).await, 200);
        }
        let lines = log.take();
        assert_eq!(lines.lines().count(), 1, "{lines}");
        for word in ["WARN", "ratelimit-policy", "replaced"] {
            assert!(lines.contains(word), "{word} is not in: {lines}");
        }
    }
}
