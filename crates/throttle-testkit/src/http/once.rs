//! What is counted and logged once in a process.

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
            a_limiter_that_is_made_for_each_request_is_noticed,
            requests_that_are_charged_twice_by_one_rule_are_noticed,
            a_field_of_the_handler_that_is_replaced_is_named,
        );
    }

    async fn a_limiter_that_is_made_for_each_request_is_noticed(&self) {
        let (log, _guard) = Log::start();
        let mut said = String::new();
        for nth in 0..100 {
            self.asks_once(&Limits::over(MemoryStorage::new(), [Rule::per_day("api", 1)])).await;
            said += &log.take();
            assert!(nth >= 31 || said.is_empty(), "{nth} of them are no reason yet: {said}");
        }
        assert_eq!(said.lines().count(), 1, "{said}");
        for word in ["WARN", "32 limiters", "create the layer once"] {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
        let limits = Limits::over(MemoryStorage::new(), [api(1000)]);
        for _ in 0..100 {
            self.asks_once(&limits).await;
        }
        assert_eq!(log.take(), "", "layers of one limiter may come and go");
    }

    async fn asks_once(&self, limits: &Limits) {
        let app = self.app(limits, [Options::new()]).await;
        assert_eq!(app.status(get()).await, 200);
    }

    async fn requests_that_are_charged_twice_by_one_rule_are_noticed(&self) {
        let (log, _guard) = Log::start();
        let limits = self.limits([api(99), Rule::per_day("daily", 99)]);
        let rule = |rule: &str| Options::new().rule(rule);
        let apart = self.app(&limits, [rule("api"), rule("daily")]).await;
        let by_key = rule("api").key(|_: &RequestHead<'_>| "everybody");
        let by_two_keys = self.app(&limits, [rule("api"), by_key]).await;
        for _ in 0..16 {
            assert_eq!((by_two_keys.status(get()).await, apart.status(get()).await), (200, 200));
        }
        assert_eq!(log.take(), "", "other rules, or other keys, are no mistake");

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
    async fn a_field_of_the_handler_that_is_replaced_is_named(&self) {
        let (log, _guard) = Log::start();
        let app = self.app(&self.limits([api(99)]), [Options::new()]).await;
        for list in [r#"field=ratelimit:"a";r=1"#, "field=ratelimit:"] {
            assert_eq!(app.status(with(get(), "x-do", list)).await, 200);
        }
        assert_eq!(log.take(), "", "a list is kept, and nothing is nothing to keep");
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
