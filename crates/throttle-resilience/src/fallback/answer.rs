//! Decisions on requests that the storage could not decide.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{
    Charge, ChargeRequest, CheckedRule, Clock, Effect, Micros, Outcome, Reply, StorageCall,
    StorageError, SystemClock, Verdict,
};

use super::{modes::FailureMode, state::Inner};

/// The retry delay of a cost larger than this instance's share. It can never be allowed locally,
/// but the storage may be back by then.
const NEXT_TRY: Micros = Micros::new(1_000_000);

impl Inner {
    /// Decides a request whose call failed, by the failure modes of its rules.
    pub(super) fn answer(
        self: &Arc<Self>,
        request: &ChargeRequest<'_>,
        error: StorageError,
        call: StorageCall,
    ) -> Reply<Outcome> {
        self.failed(&error);
        let modes: SmallVec<[FailureMode; 2]> =
            request.charges().iter().map(|charge| self.modes.mode(charge.rule().name())).collect();
        if modes.contains(&FailureMode::FailClosed) {
            self.count(&self.counts.closed);
            return Reply::ready(Err(error));
        }
        if !modes.contains(&FailureMode::Local) {
            self.count(&self.counts.open);
            let at = request.clock().map_or_else(|| SystemClock.now(), |clock| clock.now());
            return Reply::ready(Ok(joined(request, &modes, None, at)));
        }
        self.count(&self.counts.local);
        let defers = error.effect() == Effect::None && !error.is_of_key();
        self.answer_locally(request, modes, call, defers)
    }

    /// Decides with the local storage. `defers` is whether an allowed cost becomes a deferred
    /// charge: only if the failed call certainly did nothing.
    fn answer_locally(
        self: &Arc<Self>,
        request: &ChargeRequest<'_>,
        modes: SmallVec<[FailureMode; 2]>,
        call: StorageCall,
        defers: bool,
    ) -> Reply<Outcome> {
        let Some(local) = &self.modes.local else {
            // `FailureModes::mode` returns `Local` only if there is a local storage.
            return Reply::ready(Err(StorageError::not_carried_out("there is no local storage")));
        };
        let local_charges = || {
            let pairs = request.charges().iter().zip(&modes);
            pairs.filter(|(_, mode)| **mode == FailureMode::Local).map(|(charge, _)| charge)
        };
        let shares: SmallVec<[Arc<CheckedRule>; 2]> = local_charges()
            .map(|charge| Arc::new(charge.rule().fraction(1, self.instances())))
            .collect();
        let charges: SmallVec<[Charge<'_>; 2]> = local_charges()
            .zip(&shares)
            .map(|(charge, share)| Charge::new(charge.key(), share, charge.cost()))
            .collect();
        let asked = ChargeRequest::new(&charges, request.clock());
        let (reply, defers) = match call {
            StorageCall::Peek => (local.storage.peek(&asked), false),
            _ => (local.storage.acquire(&asked), defers),
        };
        reply.then_with(self, request, move |inner, request, answer| {
            Reply::ready(answer.map(|own| inner.conclude(request, &modes, &own, defers)))
        })
    }

    fn conclude(
        &self,
        request: &ChargeRequest<'_>,
        modes: &[FailureMode],
        own: &Outcome,
        defers: bool,
    ) -> Outcome {
        let outcome = joined(request, modes, Some(own), own.at());
        if defers && outcome.is_allowed() {
            let charges = request.charges().iter().zip(modes);
            for (charge, _) in charges.filter(|(_, mode)| **mode == FailureMode::Local) {
                self.deferred.add(charge, request.clock());
            }
        }
        outcome
    }
}

/// Joins the verdicts of the local storage with the verdicts of the rules that fail open.
fn joined(
    request: &ChargeRequest<'_>,
    modes: &[FailureMode],
    own: Option<&Outcome>,
    at: Micros,
) -> Outcome {
    let mut local = own.map_or(&[][..], Outcome::verdicts).iter();
    let verdicts = request.charges().iter().zip(modes).map(|(charge, mode)| match mode {
        FailureMode::Local => {
            local.next().map_or_else(Verdict::default, |own| by_share(charge, own))
        }
        _ => unknown(charge),
    });
    Outcome::new(verdicts, at).degraded()
}

/// Allows a charge that cannot be counted. A cost above the capacity is still denied.
fn unknown(charge: &Charge<'_>) -> Verdict {
    let capacity = charge.rule().capacity();
    let allowed = charge.cost() <= capacity;
    Verdict { allowed, unlimited: true, remaining: capacity, ..Verdict::default() }
}

/// Converts the local storage's verdict. It has no receipt: the shared storage was not charged, so
/// nothing can be refunded there.
fn by_share(charge: &Charge<'_>, own: &Verdict) -> Verdict {
    let too_large = !own.allowed && own.retry_after.is_none();
    let retry_after = match too_large && charge.cost() <= charge.rule().capacity() {
        true => Some(NEXT_TRY),
        false => own.retry_after,
    };
    Verdict { retry_after, receipt: None, ..*own }
}
