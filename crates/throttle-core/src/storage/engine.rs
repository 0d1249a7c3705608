//! What a storage does with the states of a request, written once for all that keep them as
//! [`State`].

use smallvec::SmallVec;

use super::charge::{Charge, Refund};
use crate::{
    algorithm::{ChargeOutcome, Decided, State},
    decision::{Outcome, Verdict},
    time::Micros,
};

/// Gives access to the states of a request, in the order of its charges.
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

/// Charges every rule, or none if one of them denies: the whole of `acquire` but for the storing.
///
/// The caller holds all states so that nobody else changes them meanwhile, and stores them again when
/// it is done. `now` is read after the states are held, so that it is not older than what they hold.
#[inline]
pub fn acquire(charges: &[Charge<'_>], now: Micros, states: &mut impl StateStore) -> Outcome {
    if let [charge] = charges {
        return Outcome::one(acquire_one(charge, now, states.state(0)), now);
    }
    // 1. Bring every state to now, and ask it.
    let decided = decide(charges, now, states);
    // 2. If all admit, charge all; if not, shut what denied.
    let admitted = all_admit(&decided);
    let conclude = |(i, (charge, admission)): (_, (&Charge<'_>, _))| {
        conclude(charge, admission, admitted, now, states.state(i))
    };
    Outcome::new(charges.iter().zip(decided).enumerate().map(conclude), now)
}

/// Settles a request of one rule.
#[inline(always)] // so that the verdict is made where the caller wants it
pub fn acquire_one(charge: &Charge<'_>, now: Micros, state: &mut State) -> Verdict {
    match state.advance_and_charge(charge.rule(), now, charge.cost()) {
        Ok(charged) => admitted(charged),
        Err(denied) => conclude(charge, denied, true, now, state),
    }
}

/// Answers as [`acquire`] would, but charges nothing and shuts nothing.
pub fn peek(charges: &[Charge<'_>], now: Micros, states: &mut impl StateStore) -> Outcome {
    let decided = decide(charges, now, states);
    let admitted = all_admit(&decided);
    Outcome::new(
        charges.iter().zip(decided).enumerate().map(|(i, (charge, admission))| {
            let mut verdict = verdict(charge, admission, now, states.state(i));
            if let Decided::Admitted { delay } = admission
                && admitted
            {
                verdict.delay = delay;
            }
            verdict
        }),
        now,
    )
}

/// Gives one charge back to the state that it was made on.
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
    let ask = |(i, charge): (usize, &Charge<'_>)| {
        let state = states.state(i);
        state.advance(charge.rule(), now);
        state.decide(charge.rule(), now, charge.cost())
    };
    charges.iter().enumerate().map(ask).collect()
}

fn all_admit(decided: &[Decided]) -> bool {
    decided.iter().all(|one| matches!(one, Decided::Admitted { .. }))
}

#[inline(always)]
fn admitted(ChargeOutcome { delay, receipt, availability }: ChargeOutcome) -> Verdict {
    Verdict {
        allowed: true,
        blocked: false,
        remaining: availability.remaining,
        reset_after: availability.reset_after,
        retry_after: None,
        delay,
        receipt: Some(receipt),
    }
}

/// Charges what it admits, if the whole request is admitted; shuts what it denies.
#[inline(always)] // as above
fn conclude(
    charge: &Charge<'_>,
    admission: Decided,
    all_admit: bool,
    now: Micros,
    state: &mut State,
) -> Verdict {
    match admission {
        Decided::Admitted { delay } if all_admit => {
            let receipt = state.charge(charge.rule(), now, charge.cost());
            admitted(ChargeOutcome {
                delay,
                receipt,
                availability: state.availability(charge.rule(), now),
            })
        }
        Decided::Denied { retry_after: Some(wait), blocked: false } => {
            if let Some(block) = charge.rule().block() {
                state.shut(now, block.max(wait));
            }
            verdict(charge, admission, now, state)
        }
        _ => verdict(charge, admission, now, state),
    }
}

/// Says where the key stands after all that.
#[inline(always)] // as above
fn verdict(charge: &Charge<'_>, admission: Decided, now: Micros, state: &State) -> Verdict {
    let availability = state.availability(charge.rule(), now);
    let shut = state.shut_for(now);
    let (allowed, retry_after) = match admission {
        Decided::Admitted { .. } => (true, None),
        Decided::Denied { retry_after, .. } => {
            (false, retry_after.map(|wait| shut.unwrap_or(wait)))
        }
    };
    Verdict {
        allowed,
        blocked: !allowed && shut.is_some(),
        remaining: availability.remaining,
        reset_after: availability.reset_after,
        retry_after,
        delay: Micros::ZERO,
        receipt: None,
    }
}
