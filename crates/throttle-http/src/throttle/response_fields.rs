//! The header fields of the response to an allowed request.

use http::StatusCode;
use throttle_core::Decisions;

use crate::fields::{Degraded, HeaderSink, Values, expose, write_dry_run};

/// The header fields of a response, and the decisions for its extensions.
#[derive(Debug, Default)]
pub(super) struct ResponseFields {
    pub(super) values: Values,
    pub(super) dry_run: bool,
    pub(super) degraded: Option<Degraded>,
    /// Whether scripts of other origins may read the fields.
    pub(super) cors_expose: bool,
    pub(super) decisions: Option<Box<Decisions>>,
}

impl ResponseFields {
    /// Writes the header fields of a response with this status, and returns the decisions for its extensions.
    #[inline]
    pub(super) fn write(
        self,
        status: StatusCode,
        headers: &mut impl HeaderSink,
    ) -> Option<Decisions> {
        self.values.write_around(status, headers);
        if self.dry_run {
            write_dry_run(headers);
        }
        if let Some(degraded) = self.degraded {
            degraded.write(headers);
        }
        if self.cors_expose {
            expose(headers);
        }
        self.decisions.map(|decisions| *decisions)
    }
}
