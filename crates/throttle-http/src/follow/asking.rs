//! A storage that is asked for a turn and may answer later.

use throttle_core::{Decision, Decisions, Error, Reply};

use super::{Place, Request, background::ToItsEnd, goes_back};

/// Returns the turn of a request, with `told`, what places said, beside what rules say.
///
/// If this is dropped while the storage is being asked, and what the request is charged [goes back
/// then](super::goes_back), it is given back when it is known.
pub(super) async fn ask(
    request: Request,
    reply: Reply<Decisions, Error>,
    told: Vec<Decision>,
) -> Place {
    let pending = match reply.into_ready() {
        Ok(answer) => return conclude(request, told, answer),
        Err(pending) => pending,
    };
    let may_go_back = goes_back(&request.throttle);
    let asking = async move { conclude(request, told, pending.await) };
    match may_go_back {
        true => ToItsEnd::new(asking).await,
        false => asking.await,
    }
}

fn conclude(request: Request, told: Vec<Decision>, answer: Result<Decisions, Error>) -> Place {
    // A rule that refuses gives the places back, so that nothing is told of them.
    let beside = |rules: Decisions| match rules.is_allowed() {
        true => Decisions::of(rules.all().iter().cloned().chain(told)).unwrap_or(rules),
        false => rules,
    };
    let answer = answer.map(beside);
    request.place(answer)
}
