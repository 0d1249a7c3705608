//! What is left to do with a response.

use http::{Response, StatusCode};
use throttle_core::Decisions;

use super::body_guard::BodyGuard;
use crate::{fields::HeaderSink, throttle::response_fields::ResponseFields};

/// What is left to do with a response: [write](Self::write) its fields, and keep the [`BodyGuard`] until
/// its body has ended.
#[derive(Debug)]
#[must_use = "the response lacks its fields"]
pub struct Done {
    fields: ResponseFields,
    guard: Option<BodyGuard>,
}

impl Done {
    #[inline]
    pub(in crate::throttle) fn new(fields: ResponseFields, guard: Option<BodyGuard>) -> Self {
        Self { fields, guard }
    }

    /// Writes the fields, and returns what is to be kept until the body of the response has ended.
    #[inline]
    pub fn write<B>(self, response: &mut Response<B>) -> Option<BodyGuard> {
        let status = response.status();
        let (decisions, guard) = self.write_to(status, response.headers_mut());
        if let Some(decisions) = decisions {
            response.extensions_mut().insert(decisions);
        }
        guard
    }

    /// As [`write`](Self::write), for frameworks that have other types than those of `http`: writes the
    /// header fields of a response of this status, and returns the decisions for its extensions, if any.
    #[inline]
    pub fn write_to(
        self,
        status: StatusCode,
        headers: &mut impl HeaderSink,
    ) -> (Option<Decisions>, Option<BodyGuard>) {
        (self.fields.write(status, headers), self.guard)
    }
}
