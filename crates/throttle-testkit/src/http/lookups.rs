//! Asynchronous keys: dropped requests, concurrent lookups, and lookups that fail.

use std::{io, pin::pin};

use bytes::Bytes;
use http::Request;
use throttle_http::{
    OnError, Options, RequestHead,
    identity::{AsyncKey, KeyWithRules},
};
use tokio::task::yield_now;

use crate::{
    Log,
    http::{
        adapter::Adapter,
        case::{get, with},
        fixture::{Fixture, api, field, join_all, poll_once},
        run::scenarios,
    },
};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn lookups(&self) {
        scenarios!(
            self, "lookups";
            a_request_that_is_dropped_during_its_lookup_is_not_charged_or_handled,
            a_client_without_selected_rules_is_not_limited_by_the_rules_of_others,
            concurrent_lookups_are_counted_exactly,
            a_failed_lookup_is_handled_by_on_error_and_logged_once,
        );
    }

    async fn a_request_that_is_dropped_during_its_lookup_is_not_charged_or_handled(&self) {
        let app = self.serve([api(1)], [Options::new().key(key())]).await;
        for who in ["hang", "someone"] {
            for polls in 0..2 {
                let mut call = pin!(app.send(by(who)));
                for _ in 0..polls {
                    assert!(poll_once(call.as_mut()).await.is_none());
                }
            }
        }
        assert_eq!(app.handler.calls(), 0);
        assert_eq!((app.status(by("someone")).await, app.status(by("someone")).await), (200, 429));
    }

    async fn a_client_without_selected_rules_is_not_limited_by_the_rules_of_others(&self) {
        let plan = |plan: &str| (plan == "free").then_some("api");
        let key = AsyncKey::new(move |head: &RequestHead<'_>| {
            let who = head.header("x-who").unwrap_or_default().to_owned();
            async move { Ok::<_, io::Error>(KeyWithRules::new(who.clone(), plan(&who))) }
        });
        let limits = self.limits([api(1)]);
        let app = self.app(&limits, [Options::new().key(key.clone())]).await;
        assert_eq!((app.status(by("free")).await, app.status(by("free")).await), (200, 429));
        for _ in 0..3 {
            assert_eq!(app.status(by("pro")).await, 200);
        }
        let named = Options::new().key(key).limit("all", "1/hour");
        let named = self.app(&limits, [named]).await;
        assert_eq!((named.status(by("pro")).await, named.status(by("pro")).await), (200, 429));
    }

    async fn concurrent_lookups_are_counted_exactly(&self) {
        let app = self.serve([api(10)], [Options::new().key(key())]).await;
        let who = |nth| if nth % 2 == 0 { "alice" } else { "bob" };
        let statuses = join_all((0..60).map(|nth| app.status(by(who(nth))))).await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 20);
        assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 40);
        assert_eq!(app.handler.calls(), 20);
    }

    async fn a_failed_lookup_is_handled_by_on_error_and_logged_once(&self) {
        let (log, _guard) = Log::start();
        let options = Options::new().key(key()).on_error(OnError::Pass);
        let app = self.serve([api(9)], [options]).await;
        for _ in 0..3 {
            let response = app.call(by("down")).await;
            assert_eq!(response.status(), 200);
            assert_eq!(field(&response, "x-ratelimit-degraded"), "unlimited");
        }
        let lines = log.take();
        assert_eq!(lines.matches("ERROR").count(), 1, "{lines}");
        assert!(lines.contains("the database is down"), "{lines}");
        assert_eq!(app.status(by("someone")).await, 200);
        assert!(log.take().contains("requests=3"));
    }
}

/// Returns the value of the field as the key. The lookup of `hang` never finishes, and the lookup of `down`
/// fails.
fn key() -> AsyncKey {
    AsyncKey::new(|head: &RequestHead<'_>| {
        let who = head.header("x-who").unwrap_or("someone").to_owned();
        async move {
            yield_now().await;
            match &*who {
                "hang" => std::future::pending().await,
                "down" => Err(io::Error::other("the database is down")),
                _ => Ok(who),
            }
        }
    })
}

fn by(who: &'static str) -> Request<Bytes> {
    with(get(), "x-who", who)
}
