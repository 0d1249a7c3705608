//! Requests whose key is needed after the decision: their charge may change, they are shaped, or their fields
//! hold the key as a code.

use std::sync::Arc;

use throttle_core::{Decision, Decisions, Error, Key, ListMatch, Reply};

use super::{
    Throttle,
    after::charge::{ChargeGuard, Charged, OnDrop},
    pass::Pass,
    rejection::Rejection,
};
use crate::{background, grpc::Protocol};

/// A request whose key is known and kept.
#[derive(Clone)]
pub(super) struct KeyedRequest {
    pub(super) throttle: Arc<Throttle>,
    pub(super) key: Key<'static>,
    pub(super) protocol: Protocol,
    pub(super) cost: Option<u64>,
    /// The limiter's count of changes from before it was asked.
    pub(super) since: u64,
}

impl Throttle {
    pub(super) fn keyed(
        self: &Arc<Self>,
        key: Key<'static>,
        protocol: Protocol,
        cost: Option<u64>,
        since: u64,
    ) -> KeyedRequest {
        KeyedRequest { throttle: Arc::clone(self), key, protocol, cost, since }
    }

    /// Returns whether requests wait for their scheduled time.
    pub(super) fn shapes(&self) -> bool {
        self.options().shape.is_some() && !self.options().dry_run
    }

    /// Returns whether a request that is given up before its handler is called is refunded: its scheduled time
    /// is free for others, or its actual cost is never reported.
    fn refunds_unhandled(&self) -> bool {
        self.options().shape.is_some() || self.options().actual.is_some()
    }
}

impl KeyedRequest {
    /// Makes a pass or a rejection of the limiter's reply, when the request's scheduled time has come.
    pub(super) fn conclude(self, reply: Reply<Decisions, Error>) -> Reply<Pass, Rejection> {
        let answer = match reply.into_ready() {
            Ok(answer) => answer,
            Err(pending) => return Reply::pending(self.decide(pending, Vec::new())),
        };
        let refunds = self.throttle.refunds_unhandled();
        match self.judge(answer) {
            // Pending, so that it is refunded if it is given up before it is polled.
            Ok(pass) if refunds => Reply::pending(self.wait(pass)),
            checked => Reply::ready(checked),
        }
    }

    /// As [`conclude`](Self::conclude), with `permits`, the decisions of concurrency limits, beside those of the
    /// rules.
    ///
    /// The storage may have charged the request when this is dropped; where that is refunded then, the answer
    /// is waited for in the background.
    pub(super) async fn decide(
        self,
        reply: Reply<Decisions, Error>,
        permits: Vec<Decision>,
    ) -> Result<Pass, Rejection> {
        let judging = self.clone();
        let judged = async move {
            // A rule that denies releases the permits, so that the client is not shown them.
            let answer = reply.await.map(|rules| with_permits(rules, permits));
            judging.judge(answer)
        };
        let checked = match self.throttle.refunds_unhandled() {
            true => background::complete(judged).await,
            false => judged.await,
        };
        self.wait(checked?).await
    }

    pub(super) fn judge(&self, answer: Result<Decisions, Error>) -> Result<Pass, Rejection> {
        let mut pass = self.throttle.judge(Some(&self.key), || self.protocol, answer)?;
        if let Some(guard) = pass.decisions().and_then(|decisions| self.guard(decisions)) {
            pass.after_mut().guard = Some(guard);
        }
        Ok(pass)
    }

    /// Returns the guard of a charge that may change.
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

/// Joins the decisions of rules with those of concurrency limits, where the rules allow the request.
pub(super) fn with_permits(mut rules: Decisions, permits: Vec<Decision>) -> Decisions {
    if rules.is_allowed() {
        rules.extend(permits);
    }
    rules
}
