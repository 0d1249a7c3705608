//! The way in through places: all or nothing, with the rules behind them.

use std::sync::Arc;

use throttle_core::Decisions;

use super::{Bill, InFlight, Passage, Request, asking::ask, in_flight::Places, turn};
use crate::{PickedRules, Refusal, Throttle, Verdict};

/// Takes the places, then asks the rules. A place that is refused charges no rule; a rule that refuses
/// gives the places back, as does whoever drops this.
pub(super) async fn enter(
    request: Request,
    cost: Option<u64>,
    picked: Option<PickedRules>,
) -> Result<Passage, Refusal> {
    let Request { throttle, key, protocol } = &request;
    let options = throttle.options();
    let asks_rules = throttle.asks_rules(picked.as_ref());
    let (mut places, mut told) = (Places::new(), Vec::new());
    for (i, concurrency) in options.concurrency.iter().enumerate() {
        // Counted once, as a request of several rules is.
        let counts = !asks_rules && i + 1 == options.concurrency.len();
        let (decision, place) = match concurrency.begin(key, counts).await {
            Ok(entered) => entered.into_parts(),
            Err(error) => {
                return match throttle.judge_keyed(Some(key), || *protocol, Err(error)) {
                    Verdict::Refused(refusal) => Err(refusal),
                    Verdict::Undecided(marks) => Ok(Passage::new(marks, None, Bill::Paid)),
                    Verdict::Passed(_) => Err(Throttle::misconfigured()), // an error passes nobody
                };
            }
        };
        match place {
            Some(place) => places.push(place),
            None => {
                let refused = Decisions::of([decision]).ok_or_else(Throttle::misconfigured)?;
                // A dry run, too, asks no rule then, and holds no place.
                return match options.dry_run {
                    false => Err(throttle.refuse(Some(key), *protocol, refused)),
                    true => {
                        let marks = throttle.marks_for(Some(key), &refused);
                        Ok(Passage::new(marks, Some(refused), Bill::Paid))
                    }
                };
            }
        }
        told.push(decision);
    }
    let place = match throttle.begin_rules(key, picked.as_ref(), cost) {
        Some(reply) => ask(request, reply, told).await,
        None => {
            let decisions = Decisions::of(told).ok_or_else(Throttle::misconfigured)?;
            request.place(Ok(decisions))
        }
    };
    let mut passage = turn(place).await?;
    // Of what a dry run lets pass though a rule denies, nothing is held.
    let holds = passage.decisions.as_ref().is_none_or(Decisions::is_allowed);
    if holds && !places.is_empty() {
        let places = Arc::new(places);
        passage.in_flight = Some(InFlight::of(&places));
        passage.exit.places = Some(places);
    }
    Ok(passage)
}
