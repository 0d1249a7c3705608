//! Requests with a key that is needed after the decision: their charge may change, they are shaped, or their
//! header fields contain a partition key.

use std::sync::Arc;

use throttle_core::{Decision, Decisions, Error, Key, ListMatch, Reply};

use super::{
    Throttle,
    after::charge::{ChargeGuard, Charged, OnDrop},
    pass::Pass,
};
use crate::{background, rejection::Rejected};

/// A request with its key.
#[derive(Clone)]
pub(super) struct KeyedRequest {
    pub(super) throttle: Arc<Throttle>,
    pub(super) key: Key<'static>,
    pub(super) cost: Option<u64>,
    /// The limiter's count of changes before the request was checked.
    pub(super) since: u64,
}

impl Throttle {
    pub(super) fn keyed(
        self: &Arc<Self>,
        key: Key<'static>,
        cost: Option<u64>,
        since: u64,
    ) -> KeyedRequest {
        KeyedRequest { throttle: Arc::clone(self), key, cost, since }
    }

    /// Returns whether requests are delayed until their scheduled time.
    pub(super) fn shapes(&self) -> bool {
        self.options().shape.is_some() && !self.options().dry_run
    }

    /// Returns whether a request is refunded if it is cancelled before its handler is called: its scheduled
    /// time is free for another request, or its actual cost is never reported.
    fn refunds_unhandled(&self) -> bool {
        self.options().shape.is_some() || self.options().actual.is_some()
    }
}

impl KeyedRequest {
    /// Converts the limiter's reply to a pass or a rejection, when the scheduled time of the request has arrived.
    pub(super) fn conclude(self, reply: Reply<Decisions, Error>) -> Reply<Pass, Rejected> {
        let answer = match reply.into_ready() {
            Ok(answer) => answer,
            Err(pending) => return Reply::pending(self.decide(pending, Vec::new())),
        };
        let refunds = self.throttle.refunds_unhandled();
        match self.judge(answer) {
            // Pending, so that the guard refunds a request that is cancelled before the reply is first polled.
            Ok(pass) if refunds => Reply::pending(self.wait(pass)),
            checked => Reply::ready(checked),
        }
    }

    /// Does the same as [`conclude`](Self::conclude) for a pending reply, and adds `permits`, the decisions of
    /// concurrency limits.
    ///
    /// If this is dropped early, the storage may have charged the request already. If the charge must be
    /// refunded, a background task waits for the answer.
    pub(super) async fn decide(
        self,
        reply: Reply<Decisions, Error>,
        permits: Vec<Decision>,
    ) -> Result<Pass, Rejected> {
        let judging = self.clone();
        let judged = async move {
            // A rule that denies releases the permits, so the client does not see them.
            let answer = reply.await.map(|rules| with_permits(rules, permits));
            judging.judge(answer)
        };
        let checked = match self.throttle.refunds_unhandled() {
            true => background::complete(self.throttle.limiter(), judged).await,
            false => judged.await,
        };
        self.wait(checked?).await
    }

    pub(super) fn judge(&self, answer: Result<Decisions, Error>) -> Result<Pass, Rejected> {
        let mut pass = self.throttle.judge(Some(&self.key), answer)?;
        if let Some(guard) = pass.decisions().and_then(|decisions| self.guard(decisions)) {
            pass.after_mut().guard = Some(guard);
        }
        Ok(pass)
    }

    /// Returns a guard if the charge may change.
    fn guard(&self, decisions: &Decisions) -> Option<ChargeGuard> {
        let refunds = self.throttle.refunds_unhandled();
        let by_list = decisions.most_restrictive().listed() == Some(ListMatch::Allowed);
        let is_charged = decisions.is_allowed() && !by_list;
        if !is_charged || !(refunds || self.throttle.options().charge_if.is_some()) {
            return None;
        }
        let (throttle, key) = (Arc::clone(&self.throttle), self.key.clone());
        let charged = Charged { throttle, key, decisions: decisions.clone() };
        let on_drop = if refunds { OnDrop::Refund } else { OnDrop::Keep };
        Some(ChargeGuard::new(charged, on_drop))
    }
}

/// Adds the decisions of concurrency limits to the decisions of the rules, if the rules allow the request.
pub(super) fn with_permits(mut rules: Decisions, permits: Vec<Decision>) -> Decisions {
    if rules.is_allowed() {
        rules.extend(permits);
    }
    rules
}
