//! What an adapter does with a request that is allowed.

use std::{convert::Infallible, time::Duration};

use throttle_core::{Decisions, Reply};

use super::{
    after::{After, done::Done},
    response_fields::ResponseFields,
};
use crate::{
    diagnostics::warn_if_nested, extension_sink::ExtensionSink, response_head::ResponseHead,
};

/// A request that is allowed: [attach](Self::attach) it to the request, and call the handler.
///
/// Dropped before that, it refunds what the request was charged for a scheduled time or as an estimate, and
/// releases its permits.
#[derive(Debug, Default)]
#[must_use = "its response has fields to write, and what it was charged may change"]
pub struct Pass {
    /// `None` where nothing was decided.
    decisions: Option<Decisions>,
    attached: Attached,
}

/// A request whose handler was shown the decisions: [finish](Self::finish) it with the response.
///
/// Dropped before that, it leaves the charge as it is, or reconciles it to what is known of the actual cost.
// Apart from `Pass`, so that the future of a request has no room for the decisions.
#[derive(Debug, Default)]
#[must_use = "its response has fields to write, and what it was charged may change"]
pub struct Attached {
    fields: ResponseFields,
    /// `None` where nothing of the request changes later; boxed, since few requests have it.
    after: Option<Box<After>>,
}

impl Pass {
    #[inline]
    pub(super) fn new(fields: ResponseFields, decisions: Decisions) -> Self {
        Self { decisions: Some(decisions), attached: Attached { fields, after: None } }
    }

    /// Returns a pass of a request that no rule decided.
    pub(super) fn of_fields(fields: ResponseFields) -> Self {
        Self { decisions: None, attached: Attached { fields, after: None } }
    }

    pub(super) fn decisions(&self) -> Option<&Decisions> {
        self.decisions.as_ref()
    }

    /// Returns how far away the request's scheduled time is.
    pub(super) fn delay(&self) -> Duration {
        self.decisions.as_ref().map(Decisions::delay).unwrap_or_default()
    }

    pub(super) fn after_mut(&mut self) -> &mut After {
        self.attached.after.get_or_insert_default()
    }

    /// Puts what handlers find into the extensions of the request: [`Decisions`],
    /// [`InFlight`](crate::InFlight) and [`ActualCost`](crate::ActualCost).
    ///
    /// Call it immediately before the handler: from here on the request counts as one that was handled.
    #[inline]
    pub fn attach(self, extensions: &mut impl ExtensionSink) -> Attached {
        let Self { decisions, mut attached } = self;
        if let Some(decisions) = decisions {
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
    /// Returns what is left to do with the response where its head changes nothing of the charge.
    ///
    /// # Errors
    ///
    /// The request itself, where the head may change its charge.
    #[inline]
    pub(super) fn into_done(self) -> Result<Done, Self> {
        match self.after {
            None => Ok(Done::new(self.fields, None)),
            Some(_) => Err(self),
        }
    }

    /// Charges what depends on the response, and returns what is left to do with it.
    ///
    /// The reply is ready at once where the head of the response changes nothing of the charge. Otherwise the
    /// charge is refunded or reconciled before the response is sent, so that the client's next request finds
    /// it done; it is done, too, if the reply is dropped before.
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

    /// A future of a request holds `Attached` from the decision to the response, and is moved with it.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn what_the_future_of_a_request_holds_does_not_grow() {
        assert!(size_of::<Attached>() <= 96, "{}", size_of::<Attached>());
        assert!(size_of::<Pass>() <= 216, "{}", size_of::<Pass>());
        assert!(size_of::<BodyGuard>() <= size_of::<usize>());
    }
}
