//! The engine: the decision about a request, given the states of its charges.
//!
//! All storages that keep a [`State`] for each charge share it.

use smallvec::SmallVec;

use super::charge::{Charge, Refund};
use crate::{
    algorithm::{ChargeOutcome, Decided, State},
    time::Micros,
    verdict::{Outcome, Verdict},
};

/// Access to the states of a request, in the order of its charges.
pub trait StateStore {
    /// Returns the state of the charge at `index`.
    fn state(&mut self, index: usize) -> &mut State;
}

impl StateStore for State {
    fn state(&mut self, _: usize) -> &mut State {
        self
    }
}

impl StateStore for Vec<State> {
    fn state(&mut self, index: usize) -> &mut State {
        &mut self[index]
    }
}

/// Charges every rule, or none if one of them denies. This is all of `acquire` except storing the states.
///
/// The caller must hold all states, so that no other request changes them in the meantime, and store them afterwards.
/// It must read `now` when it already holds the states; otherwise `now` could be older than a state.
#[inline]
pub fn acquire(charges: &[Charge<'_>], now: Micros, states: &mut impl StateStore) -> Outcome {
    if let [charge] = charges {
        return Outcome::one(acquire_one(charge, now, states.state(0)), now);
    }
    // 1. Advance every state to now, and let its rule decide.
    let decided = decide(charges, now, states);
    // 2. If all rules allow the request, charge all; otherwise start the blocks of those that denied.
    let all_allowed = all_allowed(&decided);
    let conclude = |(i, (charge, decided)): (_, (&Charge<'_>, _))| {
        conclude(charge, decided, all_allowed, now, states.state(i))
    };
    Outcome::new(charges.iter().zip(decided).enumerate().map(conclude), now)
}

/// Charges a request of one rule, or denies it.
#[inline(always)] // so that the verdict is written directly to its destination
pub fn acquire_one(charge: &Charge<'_>, now: Micros, state: &mut State) -> Verdict {
    match state.advance_and_charge(charge.rule(), now, charge.cost()) {
        Ok(charged) => allowed_verdict(charged),
        Err(denied) => conclude(charge, denied, true, now, state),
    }
}

/// Returns the decision that [`acquire`] would make, but charges nothing and blocks nothing.
pub fn peek(charges: &[Charge<'_>], now: Micros, states: &mut impl StateStore) -> Outcome {
    let decided = decide(charges, now, states);
    let all_allowed = all_allowed(&decided);
    Outcome::new(
        charges.iter().zip(decided).enumerate().map(|(i, (charge, decided))| {
            let mut verdict = verdict(charge, decided, now, states.state(i));
            if let Decided::Allowed { delay } = decided
                && all_allowed
            {
                verdict.delay = delay;
            }
            verdict
        }),
        now,
    )
}

/// Refunds one charge to the state that it was made on.
pub fn refund(refund: &Refund<'_>, now: Micros, state: &mut State) {
    let charge = refund.charge();
    state.advance(charge.rule(), now);
    state.refund(charge.rule(), now, charge.cost(), refund.receipt());
}

fn decide(
    charges: &[Charge<'_>],
    now: Micros,
    states: &mut impl StateStore,
) -> SmallVec<[Decided; 2]> {
    let decide = |(i, charge): (usize, &Charge<'_>)| {
        let state = states.state(i);
        state.advance(charge.rule(), now);
        state.decide(charge.rule(), now, charge.cost())
    };
    charges.iter().enumerate().map(decide).collect()
}

fn all_allowed(decided: &[Decided]) -> bool {
    decided.iter().all(|one| matches!(one, Decided::Allowed { .. }))
}

#[inline(always)]
fn allowed_verdict(ChargeOutcome { delay, receipt, availability }: ChargeOutcome) -> Verdict {
    Verdict {
        allowed: true,
        blocked: false,
        unlimited: false,
        remaining: availability.remaining,
        reset_after: availability.reset_after,
        retry_after: None,
        delay,
        receipt: Some(receipt),
    }
}

/// Charges a rule if all rules allow the request, or starts its block if it denies.
#[inline(always)] // as above
fn conclude(
    charge: &Charge<'_>,
    decided: Decided,
    all_allowed: bool,
    now: Micros,
    state: &mut State,
) -> Verdict {
    match decided {
        Decided::Allowed { delay } if all_allowed => {
            let receipt = state.charge(charge.rule(), now, charge.cost());
            allowed_verdict(ChargeOutcome {
                delay,
                receipt,
                availability: state.availability(charge.rule(), now),
            })
        }
        Decided::Denied { retry_after: Some(wait), blocked: false } => {
            if let Some(block) = charge.rule().block() {
                state.start_block(now, block.max(wait));
            }
            verdict(charge, decided, now, state)
        }
        _ => verdict(charge, decided, now, state),
    }
}

/// Returns the verdict for a state that is not charged.
#[inline(always)] // as above
fn verdict(charge: &Charge<'_>, decided: Decided, now: Micros, state: &State) -> Verdict {
    let availability = state.availability(charge.rule(), now);
    let blocked_for = state.blocked_for(now);
    let (allowed, retry_after) = match decided {
        Decided::Allowed { .. } => (true, None),
        Decided::Denied { retry_after, .. } => {
            (false, retry_after.map(|wait| blocked_for.unwrap_or(wait)))
        }
    };
    Verdict {
        allowed,
        blocked: !allowed && blocked_for.is_some(),
        unlimited: false,
        remaining: availability.remaining,
        reset_after: availability.reset_after,
        retry_after,
        delay: Micros::ZERO,
        receipt: None,
    }
}
