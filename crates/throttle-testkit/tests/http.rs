//! The table of HTTP cases, without any framework: what every adapter does with a `Throttle`.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use throttle_core::Limiter;
use throttle_http::{
    Admission, Followed, Marks, Options, Protocol, RequestHead, ResponseHead, Throttle, Verdict,
};
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{all, answers, handler, nested, run};

async fn make(options: Options, limiter: Limiter) -> Arc<Throttle> {
    Arc::new(Throttle::new(limiter, options).unwrap())
}

async fn call(throttle: &Arc<Throttle>, request: Request<Bytes>) -> Response<Bytes> {
    let answer = match throttle.admit(&RequestHead::new(&request, None)) {
        Admission::Exempt => return handler(),
        Admission::Refused(refusal) => return refusal,
        Admission::Undecided(marks) => return marked(marks),
        Admission::Asked(reply) => reply.await,
        Admission::Followed(followed) => return follow(throttle, followed).await,
    };
    match throttle.judge_for(|| Protocol::of(&request), answer) {
        Verdict::Refused(refusal) => refusal,
        Verdict::Undecided(marks) => marked(marks),
        Verdict::Passed(decisions) => {
            let mut response = handler();
            throttle.mark(&mut response, decisions);
            response
        }
    }
}

fn marked(marks: Marks) -> Response<Bytes> {
    let mut response = handler();
    marks.write(&mut response);
    response
}

async fn follow(throttle: &Arc<Throttle>, followed: Box<Followed>) -> Response<Bytes> {
    match throttle.follow(followed).await {
        Err(refusal) => refusal,
        Ok(passage) => {
            let mut response = handler();
            let head = ResponseHead::new(response.status(), response.headers());
            let departure = match passage.exit.leave(&head) {
                Ok(departure) => departure,
                Err(leaving) => leaving.await,
            };
            departure.marks.write(&mut response);
            drop(departure.hold); // the body has ended
            response
        }
    }
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
