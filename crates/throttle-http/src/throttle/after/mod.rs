//! The state of a request after the decision: its charge, if it depends on the response, and its permits.

pub(crate) mod actual_cost;
pub(crate) mod body_guard;
pub(crate) mod charge;
pub(crate) mod done;
pub(crate) mod in_flight;

use std::{convert::Infallible, sync::Arc};

use throttle_core::{Decisions, Reply};

use self::{
    actual_cost::{ActualCost, Cell},
    body_guard::BodyGuard,
    charge::{ChargeGuard, Charged, OnDrop},
    done::Done,
    in_flight::{InFlight, Permits},
};
use super::response_fields::ResponseFields;
use crate::{background, extension_sink::ExtensionSink, response_head::ResponseHead};

/// The parts of an allowed request that may change after the decision.
#[derive(Debug, Default)]
pub(super) struct After {
    pub(super) guard: Option<ChargeGuard>,
    pub(super) permits: Option<Arc<Permits>>,
}

/// A change of the charge that the head of the response decides.
enum Change {
    /// No change yet.
    None,
    /// A refund, because the request does not count.
    Refund,
    /// A reconciliation with this actual cost.
    Reconcile(u64),
}

impl After {
    /// Inserts the values for the handler into the extensions. From here on a cancelled request is not refunded.
    pub(super) fn attach(&mut self, extensions: &mut impl ExtensionSink) {
        if let Some(permits) = &self.permits {
            let in_flight = InFlight::of(permits).with_outer(extensions.get());
            extensions.insert(in_flight);
        }
        let Some(mut guard) = self.guard.take() else { return };
        let Some(charged) = guard.charged() else { return };
        let options = charged.throttle.options();
        if options.actual.is_some() {
            let cell = Arc::new(Cell::new());
            let cost = ActualCost::of(&cell).with_outer(extensions.get());
            extensions.insert(cost);
            guard.set_on_drop(OnDrop::Reconcile(cell));
        } else if options.charge_if.is_some() {
            guard.set_on_drop(OnDrop::Keep);
        } else {
            return guard.keep();
        }
        self.guard = Some(guard);
    }

    /// Returns the last step: immediately if the charge does not change yet, otherwise after it was refunded or
    /// reconciled.
    pub(super) fn finish(
        self: Box<Self>,
        head: &ResponseHead<'_>,
        fields: ResponseFields,
    ) -> Reply<Done, Infallible> {
        let Self { guard, permits } = *self;
        let change = guard.as_ref().map_or(Change::None, |guard| guard.change(head));
        let (actual, charged) = match (change, guard) {
            (Change::Refund, Some(guard)) => (None, guard.into_charged()),
            (Change::Reconcile(actual), Some(guard)) => (Some(actual), guard.into_charged()),
            (_, guard) => {
                return Reply::ready(Ok(Done::new(fields, BodyGuard::of(guard, permits))));
            }
        };
        let Some(charged) = charged else {
            return Reply::ready(Ok(Done::new(fields, BodyGuard::of(None, permits))));
        };
        let throttle = Arc::clone(&charged.throttle);
        Reply::pending(background::complete(throttle.limiter(), async move {
            let fields = charged.change(actual).await.unwrap_or(fields);
            Ok(Done::new(fields, BodyGuard::of(None, permits)))
        }))
    }
}

impl ChargeGuard {
    fn change(&self, head: &ResponseHead<'_>) -> Change {
        let Some(charged) = self.charged() else { return Change::None };
        let options = charged.throttle.options();
        if !options.charge_if.as_ref().is_none_or(|charge_if| charge_if(head)) {
            return Change::Refund;
        }
        let by = options.actual.as_ref().and_then(|actual| actual.by.as_ref());
        by.and_then(|by| by(head)).map_or(Change::None, Change::Reconcile)
    }
}

impl Charged {
    /// Reconciles with the actual cost, or refunds if there is none. Returns the changed header fields, if the
    /// storage succeeded.
    async fn change(&self, actual: Option<u64>) -> Option<ResponseFields> {
        let decisions: Option<Decisions> = match actual {
            Some(actual) => self.reconcile(actual).await,
            None => self.refund_unused().await,
        };
        decisions.map(|decisions| self.throttle.response_fields(Some(&self.key), &decisions))
    }
}
