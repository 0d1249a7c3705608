//! What a response to a request that passed is marked with.

use http::{Response, StatusCode};
use throttle_core::Decisions;

use crate::fields::{FieldMap, Values, write_dry_run, write_unlimited};

/// What a response to a request that passed is marked with; made before the handler is called, so
/// that nothing else need be kept until it has answered.
#[derive(Debug, Default)]
pub struct Marks {
    pub(crate) values: Values,
    pub(crate) dry_run: bool,
    pub(crate) undecided: bool,
    pub(crate) decisions: Option<Box<Decisions>>,
}

impl Marks {
    /// Marks the response to a request that a dry run lets pass.
    pub(crate) fn denied_dry() -> Self {
        Self { dry_run: true, ..Self::default() }
    }

    /// Marks a response.
    #[inline]
    pub fn write<B>(self, response: &mut Response<B>) {
        let status = response.status();
        if let Some(decisions) = self.write_fields(status, response.headers_mut()) {
            response.extensions_mut().insert(decisions);
        }
    }

    /// Writes the fields of a response of this status, and returns what is to stand beside it.
    #[inline]
    pub fn write_fields(self, status: StatusCode, map: &mut impl FieldMap) -> Option<Decisions> {
        self.values.write_around(status, map);
        if self.dry_run {
            write_dry_run(map);
        }
        if self.undecided {
            write_unlimited(map);
        }
        self.decisions.map(|decisions| *decisions)
    }
}
