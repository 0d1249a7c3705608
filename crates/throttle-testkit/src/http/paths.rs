//! The limit of a path applies to all its spellings.

use bytes::Bytes;
use http::{Request, Uri};
use throttle_core::Key;
use throttle_http::{
    Options, RequestHead,
    identity::{ClientIp, Global, RequestPath, RoutePattern},
};

use crate::http::{
    adapter::Adapter,
    case::get,
    fixture::{App, Fixture, api},
    run::scenarios,
    spellings::{escaped, spellings},
};

const LOGIN: &str = "/api/login";

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn paths(&self) {
        scenarios!(
            self, "paths";
            all_escapes_of_a_path_are_one_key,
            all_escapes_of_a_route_parameter_are_one_key,
            functions_read_the_decoded_path,
            no_spelling_of_another_path_is_exempt,
            a_path_that_leaves_an_exempt_prefix_is_not_exempt,
        );
    }

    async fn all_escapes_of_a_path_are_one_key(&self) {
        let app = self.serve([api(1)], [Options::new().key((RequestPath, ClientIp::new()))]).await;
        assert_eq!(app.status(of(LOGIN)).await, 200);
        app.denies_all(escaped(LOGIN)).await;
    }

    async fn all_escapes_of_a_route_parameter_are_one_key(&self) {
        let app = self.serve([api(1)], [Options::new().key(RoutePattern)]).await;
        assert_eq!(app.status(of("/users/me")).await, 200);
        let parameters = escaped("me").into_iter().map(|spelling| format!("/users/{spelling}"));
        app.denies_all(parameters).await;
    }

    async fn functions_read_the_decoded_path(&self) {
        let is_login = |head: &RequestHead<'_>| head.decoded_path() == LOGIN;
        let pick = move |_: &Key<'_>, head: &RequestHead<'_>| is_login(head).then_some("api");
        let key = |head: &RequestHead<'_>| head.decoded_path().into_owned();
        for options in [
            Options::new().exempt(|head| !head.decoded_path().starts_with("/api/")),
            Options::new().cost(move |head: &RequestHead<'_>| u64::from(is_login(head))),
            Options::new().select_rules(pick),
            Options::new().key(key),
        ] {
            let app = self.serve([api(1)], [options]).await;
            assert_eq!(app.status(of(LOGIN)).await, 200);
            app.denies_all(escaped(LOGIN)).await;
        }
    }

    async fn no_spelling_of_another_path_is_exempt(&self) {
        let options = Options::new().key(Global).exempt_paths(["/metrics", "/static/*"]);
        let app = self.serve([api(1)], [options.exempt_health_checks()]).await;
        assert_eq!(app.status(of(LOGIN)).await, 200);
        app.denies_all(spellings(LOGIN)).await;
        app.denies_all(["/metrics/", "//metrics", "/metrics;x", "/%256detrics", "/STATIC/"]).await;
    }

    async fn a_path_that_leaves_an_exempt_prefix_is_not_exempt(&self) {
        let options = Options::new().key(Global).exempt_paths(["/static/*"]);
        let app = self.serve([api(1)], [options]).await;
        assert_eq!(app.status(of(LOGIN)).await, 200);
        assert_eq!(app.status(of("/static/a%20b.css")).await, 200);
        app.denies_all([
            "/static/../api/login",
            "/static/%2e%2e/api/login",
            "/static/.%2E/api/login",
            "/static/..%2fapi/login",
            "/static/x%2F..%2F..%2Fapi/login",
            "/static/..\\api\\login",
            "/static/%5c..%5capi",
            "/static/%252e%252e/api/login",
            "/static/%%32%65%%32%65/api/login",
            "/static/%c0%ae%c0%ae/api/login",
            "/static/%e0%80%ae./api/login",
            "/static/..;/api/login",
        ])
        .await;
    }
}

impl<A: Adapter> App<'_, A> {
    async fn denies_all(&self, paths: impl IntoIterator<Item = impl AsRef<str>>) {
        let mut allowed = Vec::new();
        for path in paths {
            if self.status(of(path.as_ref())).await != 429 {
                allowed.push(path.as_ref().to_owned());
            }
        }
        assert!(allowed.is_empty(), "these paths were allowed, expected 429: {allowed:#?}");
    }
}

fn of(path: &str) -> Request<Bytes> {
    let mut request = get();
    *request.uri_mut() = path.parse::<Uri>().expect("the path is a valid URI");
    request
}
