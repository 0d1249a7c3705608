//! The test vectors of the conformance suite, which were computed in exact arithmetic.

use std::sync::Arc;

use throttle_core::{Charge, Key, Micros};
use throttle_testkit::vectors::{self, Expect};

use super::server::Server;
use crate::script::Op;

#[test]
fn every_test_vector_gets_the_expected_answers() {
    let mut server = Server::start();
    let all = vectors::all();
    assert!(all.len() > 200);
    for vector in all {
        let rule = Arc::new(vector.rule("vector").check().unwrap());
        let key = Key::from("k");
        for (n, step) in vector.steps.iter().enumerate() {
            let charge = [Charge::new(&key, &rule, step.cost)];
            let now = Some(Micros::new(step.at_us));
            let outcome = server.acquire(Op::Acquire, &charge, now).unwrap();
            let verdict = outcome.verdicts()[0];
            let Expect { allowed, remaining, blocked, .. } = step.expect;
            let what = format!("{} ({}), step {n}: {step:?}", vector.name, vector.algorithm);
            assert_eq!((verdict.allowed, verdict.blocked), (allowed, blocked), "{what}");
            assert_eq!(verdict.remaining, remaining, "{what}");
            assert_eq!(verdict.reset_after.get(), step.expect.reset_after_us, "{what}");
            let retry_after = verdict.retry_after.map(Micros::get);
            assert_eq!(retry_after, step.expect.retry_after_us, "{what}");
            assert_eq!(verdict.delay.get(), step.expect.delay_us, "{what}");
        }
        server.send::<()>("FLUSHALL");
    }
}
