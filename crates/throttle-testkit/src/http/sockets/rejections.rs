//! Rejections over HTTP/1.1 and HTTP/2.

use http::Method;
use throttle_core::Rule;
use throttle_http::Options;

use crate::http::{
    adapter::Adapter,
    case::ask_by,
    fixture::{CLIENT, Fixture, field},
    run::scenarios,
};

impl<A: Adapter> Fixture<'_, A> {
    pub(in crate::http) async fn rejections(&self) {
        scenarios!(
            self, "rejections";
            a_rejection_of_head_has_a_length_and_no_body,
            a_rejection_of_head_by_a_concurrency_limit_has_no_body,
        );
    }

    /// Repeats the request, because an unexpected body resets the stream only sometimes.
    async fn a_rejection_of_head_has_a_length_and_no_body(&self) {
        let app = self.serve([Rule::per_day("api", 1)], [Options::new()]).await;
        assert_eq!(app.status(ask_by(Method::HEAD)).await, 200);
        for _ in 0..50 {
            let rejected = app.call(ask_by(Method::HEAD)).await;
            assert_eq!((rejected.status().as_u16(), rejected.body().len()), (429, 0));
            assert_eq!(field(&rejected, "content-length"), "188");
        }
    }

    async fn a_rejection_of_head_by_a_concurrency_limit_has_no_body(&self) {
        let limits = self.limits([Rule::per_day("api", 1)]);
        let uploads = limits.limiter.concurrency("uploads", 1).unwrap();
        let app = self.app(&limits, [Options::new().concurrency(uploads.clone())]).await;
        let _permit = uploads.try_acquire(CLIENT).await.unwrap();
        for _ in 0..50 {
            let rejected = app.call(ask_by(Method::HEAD)).await;
            assert_eq!((rejected.status().as_u16(), rejected.body().len()), (429, 0));
        }
    }
}
