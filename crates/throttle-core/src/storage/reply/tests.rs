//! The combinators of replies.

use std::{
    future::{pending, poll_fn},
    sync::Arc,
    task::Waker,
};

use super::*;
use crate::{key::Key, rule::Rule, storage::charge::Charge};

type Text = Reply<String, &'static str>;

/// Polls a reply, which must not wait for anything, until it is ready.
fn answer<T, E>(mut reply: Reply<T, E>) -> Result<T, E> {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10 {
        if let Poll::Ready(answer) = Pin::new(&mut reply).poll(&mut context) {
            return answer;
        }
    }
    panic!("no answer");
}

/// Returns a reply that is ready at the second poll.
fn later(answer: Result<u64, &'static str>) -> Reply<u64, &'static str> {
    let mut polled = false;
    Reply::pending(async move {
        poll_fn(
            |_| if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending },
        )
        .await;
        answer
    })
}

fn text(n: u64) -> Text {
    Reply::ready(Ok(n.to_string()))
}

#[test]
fn a_combinator_on_a_ready_reply_is_ready() {
    let ready = || Reply::<u64, &'static str>::ready(Ok(7));
    let request = ChargeRequest::new(&[], None);
    assert_eq!(ready().map(|n| n + 1).into_ready().expect("ready"), Ok(8));
    assert_eq!(ready().and_then(text).into_ready().expect("ready"), Ok("7".to_owned()));
    assert_eq!(ready().then(Reply::ready).into_ready().expect("ready"), Ok(7));
    let with = ready().then_with(&(), &request, |(), _, answer| Reply::ready(answer));
    assert_eq!(with.into_ready().expect("ready"), Ok(7));
    assert!(ready().and_then(|_| later(Ok(1))).into_ready().is_err(), "the next reply is pending");
}

#[test]
fn a_combinator_on_a_pending_reply_runs_after_it() {
    let request = ChargeRequest::new(&[], None);
    assert!(later(Ok(7)).map(|n| n + 1).into_ready().is_err());
    assert_eq!(answer(later(Ok(7)).map(|n| n + 1)), Ok(8));
    assert_eq!(answer(later(Ok(7)).and_then(text)), Ok("7".to_owned()));
    assert_eq!(answer(later(Ok(7)).and_then(|n| later(Ok(n + 1)))), Ok(8));
    assert_eq!(answer(later(Ok(7)).then(Reply::ready)), Ok(7));
    let with = later(Ok(7)).then_with(&(), &request, |(), _, answer| Reply::ready(answer));
    assert_eq!(answer(with), Ok(7));
}

#[test]
fn errors_are_returned_unchanged_by_map_and_and_then() {
    for reply in [|| Reply::ready(Err("lost")), || later(Err("lost"))] {
        let never = |_| -> u64 { panic!("no answer to convert") };
        assert_eq!(answer(reply().map(never)), Err("lost"));
        assert_eq!(answer(reply().and_then(move |n| Reply::ready(Ok(never(n))))), Err("lost"));
        let instead = |answer: Result<u64, _>| Reply::<_, ()>::ready(Ok(answer.unwrap_err()));
        assert_eq!(answer(reply().then(instead)), Ok("lost"));
    }
}

#[test]
fn then_with_clones_request_and_context_only_if_the_reply_is_pending() {
    let rule = Arc::new(Rule::per_minute("api", 10).check().unwrap());
    let key = Key::from("user:42");
    let charges = [Charge::new(&key, &rule, 3)];
    let request = ChargeRequest::new(&charges, None);
    let (context, at) = (Arc::new("context"), charges.as_ptr() as usize);
    for (reply, is_cloned) in [(Reply::ready(Ok(7)), false), (later(Ok(7)), true)] {
        let with = reply.then_with(&context, &request, move |context, request, answer| {
            let [charge] = request.charges() else { panic!("{request:?}") };
            assert_eq!((charge.key().as_bytes(), charge.cost()), (&b"user:42"[..], 3));
            assert_eq!(request.charges().as_ptr() as usize != at, is_cloned);
            assert_eq!(Arc::strong_count(context), 1 + usize::from(is_cloned));
            Reply::ready(answer)
        });
        assert_eq!(answer(with), Ok(7));
    }
}

#[test]
fn a_reply_that_is_dropped_while_pending_calls_nothing() {
    let reply: Reply<u64, ()> = Reply::pending(pending());
    drop(reply.map(|_| panic!("no answer")));
}
