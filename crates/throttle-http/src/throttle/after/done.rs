//! The last step of a request.

use http::{Response, StatusCode};
use throttle_core::Decisions;

use super::body_guard::BodyGuard;
use crate::{fields::HeaderSink, throttle::response_fields::ResponseFields};

/// The last step of a request. [Write](Self::write) the header fields, and keep the [`BodyGuard`] until the
/// body has ended.
#[derive(Debug)]
#[must_use = "the response needs its header fields"]
pub struct Done {
    fields: ResponseFields,
    guard: Option<BodyGuard>,
}

impl Done {
    #[inline]
    pub(in crate::throttle) fn new(fields: ResponseFields, guard: Option<BodyGuard>) -> Self {
        Self { fields, guard }
    }

    /// Writes the header fields, and returns the guard to keep until the body of the response has ended, if
    /// there is one.
    #[inline]
    pub fn write<B>(self, response: &mut Response<B>) -> Option<BodyGuard> {
        let status = response.status();
        let (decisions, guard) = self.write_to(status, response.headers_mut());
        if let Some(decisions) = decisions {
            response.extensions_mut().insert(decisions);
        }
        guard
    }

    /// Writes the header fields of a response with this status, for frameworks that do not use the types of
    /// `http`. Returns the decisions for the extensions of the response, if there are any, and the guard.
    #[inline]
    pub fn write_to(
        self,
        status: StatusCode,
        headers: &mut impl HeaderSink,
    ) -> (Option<Decisions>, Option<BodyGuard>) {
        (self.fields.write(status, headers), self.guard)
    }
}
