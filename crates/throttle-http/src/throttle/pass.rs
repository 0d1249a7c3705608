//! The steps of an adapter for an allowed request.

use std::{convert::Infallible, time::Duration};

use throttle_core::{Decisions, Reply};

use super::{
    after::{After, done::Done},
    response_fields::ResponseFields,
};
use crate::{
    diagnostics::warn_if_nested, extension_sink::ExtensionSink, response_head::ResponseHead,
};

/// An allowed request. [Attach](Self::attach) it to the request, and call the handler.
///
/// If it is dropped before that, the request is refunded if it was charged for a scheduled time or an estimate,
/// and its permits are released.
#[derive(Debug, Default)]
#[must_use = "the response needs its header fields, and the charge may change"]
pub struct Pass {
    /// `None` if there was no decision, for example for an exempt request.
    decisions: Option<Decisions>,
    attached: Attached,
}

/// An allowed request whose handler was called. [Finish](Self::finish) it with the response.
///
/// If it is dropped before that, the charge stays, or is reconciled with the actual cost that was reported so far.
// A separate type, so that the future of a request does not reserve space for the decisions.
#[derive(Debug, Default)]
#[must_use = "the response needs its header fields, and the charge may change"]
pub struct Attached {
    fields: ResponseFields,
    /// `None` if the request has nothing to finish later. Boxed, because few requests need it.
    after: Option<Box<After>>,
}

impl Pass {
    #[inline]
    pub(super) fn new(fields: ResponseFields, decisions: Decisions) -> Self {
        Self { decisions: Some(decisions), attached: Attached { fields, after: None } }
    }

    /// Creates the pass of a request without a decision.
    pub(super) fn of_fields(fields: ResponseFields) -> Self {
        Self { decisions: None, attached: Attached { fields, after: None } }
    }

    pub(super) fn decisions(&self) -> Option<&Decisions> {
        self.decisions.as_ref()
    }

    /// Returns the delay until the scheduled time of the request.
    pub(super) fn delay(&self) -> Duration {
        self.decisions.as_ref().map(Decisions::delay).unwrap_or_default()
    }

    pub(super) fn after_mut(&mut self) -> &mut After {
        self.attached.after.get_or_insert_default()
    }

    /// Inserts the values for handlers into the extensions of the request: [`Decisions`],
    /// [`InFlight`](crate::InFlight) and [`ActualCost`](crate::ActualCost).
    ///
    /// Call it immediately before the handler. The request then counts as handled, and is not refunded
    /// if it is cancelled.
    #[inline]
    pub fn attach(self, extensions: &mut impl ExtensionSink) -> Attached {
        let Self { decisions, mut attached } = self;
        if let Some(decisions) = decisions {
            // Decisions that are already there come from an outer layer, which may charge the same rule.
            if let Some(outer) = extensions.get() {
                warn_if_nested(outer, &decisions);
            }
            extensions.insert(decisions);
        }
        if let Some(after) = &mut attached.after {
            after.attach(extensions);
        }
        attached
    }
}

impl Attached {
    /// Returns the last step, if the head of the response cannot change the charge.
    ///
    /// # Errors
    ///
    /// Returns `self` unchanged if the head of the response may change the charge.
    #[inline]
    pub(super) fn into_done(self) -> Result<Done, Self> {
        match self.after {
            None => Ok(Done::new(self.fields, None)),
            Some(_) => Err(self),
        }
    }

    /// Adjusts the charge to the response, and returns the last step.
    ///
    /// The reply is ready immediately if the head of the response does not change the charge. Otherwise the charge
    /// is refunded or reconciled first, so that the next request of the client sees the result. This completes
    /// even if the reply is dropped.
    #[inline]
    pub fn finish(self, head: &ResponseHead<'_>) -> Reply<Done, Infallible> {
        match self.after {
            None => Reply::ready(Ok(Done::new(self.fields, None))),
            Some(after) => after.finish(head, self.fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::throttle::BodyGuard;

    /// The future of a request contains `Attached` from the decision to the response, and is moved with it.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_values_in_the_future_of_a_request_stay_small() {
        assert!(size_of::<Attached>() <= 96, "{}", size_of::<Attached>());
        assert!(size_of::<Pass>() <= 216, "{}", size_of::<Pass>());
        assert!(size_of::<BodyGuard>() <= size_of::<usize>());
    }
}
