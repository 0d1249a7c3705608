//! The table of HTTP cases, without any framework: what every adapter does with a `Throttle`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use throttle_core::Limiter;
use throttle_http::{Options, RequestHead, ResponseHead, Throttle};
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{all, answers, handler, nested, run};

async fn make(options: Options, limiter: Limiter) -> Arc<Throttle> {
    Arc::new(Throttle::new(limiter, options).unwrap())
}

async fn call(throttle: &Arc<Throttle>, mut request: Request<Bytes>) -> Response<Bytes> {
    let pass = match throttle.check(&RequestHead::new(&request, None)).await {
        Ok(pass) => pass,
        Err(rejection) => return rejection.into_response_to(request.method()),
    };
    let attached = pass.attach(request.extensions_mut());
    let mut response = handler();
    let head = ResponseHead::new(response.status(), response.headers());
    let Ok(done) = attached.finish(&head).await;
    drop(done.write(&mut response)); // the body has ended
    response
}

#[tokio::test]
async fn a_bare_throttle_answers_as_the_table_says() {
    assert_eq!(run(MemoryStorage::new, make, call).await, answers());
    assert!(all().len() > 50 && answers() > 350, "{} cases, {} answers", all().len(), answers());
}

#[test]
fn every_case_has_a_title_of_its_own() {
    let mut titles: Vec<_> = all().iter().chain(&nested()).map(|case| case.title).collect();
    titles.sort_unstable();
    assert!(titles.windows(2).all(|pair| pair[0] != pair[1]), "{titles:?}");
}
