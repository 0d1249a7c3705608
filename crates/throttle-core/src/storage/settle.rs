//! What a storage does with the states of a request, written once for all that keep them as
//! [`State`].

use smallvec::SmallVec;

use super::{Charge, Refund};
use crate::{
    Micros, Outcome, Verdict,
    algorithm::{Admission, State},
};

/// Gives access to the states of a request, in the order of its charges.
pub trait States {
    /// Returns the state of the charge at `index`.
    fn state(&mut self, index: usize) -> &mut State;
}

impl States for State {
    fn state(&mut self, _: usize) -> &mut State {
        self
    }
}

impl States for Vec<State> {
    fn state(&mut self, index: usize) -> &mut State {
        &mut self[index]
    }
}

/// Charges every rule, or none if one of them denies: the whole of `acquire` but for the storing.
///
/// The caller holds all states so that nobody else changes them meanwhile, and stores them again when
/// it is done. `now` is read after the states are held, so that it is not older than what they hold.
pub fn settle(charges: &[Charge<'_>], now: Micros, states: &mut impl States) -> Outcome {
    // 1. Bring every state to now, and ask it.
    let decided = decide(charges, now, states);
    // 2. If all admit, charge all; if not, shut what denied.
    let admitted = decided
        .iter()
        .all(|one| matches!(one, Admission::Admitted { .. }));
    // 3. Say where each key stands after that.
    Outcome::new(
        charges
            .iter()
            .zip(decided)
            .enumerate()
            .map(|(i, (charge, admission))| {
                let state = states.state(i);
                let mut verdict = Verdict::default();
                match admission {
                    Admission::Admitted { delay } if admitted => {
                        verdict.receipt = Some(state.charge(charge.rule(), now, charge.cost()));
                        verdict.delay = delay;
                    }
                    Admission::Denied {
                        retry_after: Some(wait),
                        blocked: false,
                    } => {
                        if let Some(block) = charge.rule().block() {
                            state.shut(now, block.max(wait));
                        }
                    }
                    _ => {}
                }
                finish(verdict, admission, charge, now, state)
            }),
    )
}

/// Answers as [`settle`] would, but charges nothing and shuts nothing.
pub fn look(charges: &[Charge<'_>], now: Micros, states: &mut impl States) -> Outcome {
    let decided = decide(charges, now, states);
    Outcome::new(
        charges
            .iter()
            .zip(decided)
            .enumerate()
            .map(|(i, (charge, admission))| {
                let mut verdict = Verdict::default();
                if let Admission::Admitted { delay } = admission {
                    verdict.delay = delay;
                }
                finish(verdict, admission, charge, now, states.state(i))
            }),
    )
}

/// Gives one charge back to the state that it was made on.
pub fn give_back(refund: &Refund<'_>, now: Micros, state: &mut State) {
    let charge = refund.charge();
    state.advance(charge.rule(), now);
    state.refund(charge.rule(), now, charge.cost(), refund.receipt());
}

fn decide(
    charges: &[Charge<'_>],
    now: Micros,
    states: &mut impl States,
) -> SmallVec<[Admission; 2]> {
    let ask = |(i, charge): (usize, &Charge<'_>)| {
        let state = states.state(i);
        state.advance(charge.rule(), now);
        state.decide(charge.rule(), now, charge.cost())
    };
    charges.iter().enumerate().map(ask).collect()
}

fn finish(
    mut verdict: Verdict,
    admission: Admission,
    charge: &Charge<'_>,
    now: Micros,
    state: &State,
) -> Verdict {
    let standing = state.standing(charge.rule(), now);
    verdict.remaining = standing.remaining;
    verdict.reset_after = standing.reset_after;
    match admission {
        Admission::Admitted { .. } => verdict.allowed = true,
        Admission::Denied { retry_after, .. } => {
            let shut = state.shut_for(now);
            verdict.blocked = shut.is_some();
            verdict.retry_after = retry_after.map(|wait| shut.unwrap_or(wait));
        }
    }
    verdict
}
