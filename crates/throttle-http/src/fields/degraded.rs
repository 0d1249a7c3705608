//! The header field of responses to requests that the storage did not check, because it failed.

use http::{HeaderName, HeaderValue};
use throttle_core::{Decision, Decisions};

use super::header_sink::HeaderSink;

pub(super) const X_DEGRADED: HeaderName = HeaderName::from_static("x-ratelimit-degraded");

/// The check of a request while the storage fails.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Degraded {
    /// The local fallback decided.
    Local,
    /// At least one rule was not enforced.
    Unlimited,
}

impl Degraded {
    /// Returns `None` if the storage decided.
    #[inline]
    pub(crate) fn of(decisions: &Decisions) -> Option<Self> {
        let is_degraded = decisions.all().iter().any(Decision::is_degraded);
        is_degraded.then(|| match decisions.all().iter().any(Decision::is_unlimited) {
            true => Self::Unlimited,
            false => Self::Local,
        })
    }

    /// Marks the response. If an inner layer did not enforce a rule, the response stays marked with that.
    pub(crate) fn write(self, map: &mut impl HeaderSink) {
        match self {
            Self::Unlimited => map.set(X_DEGRADED, HeaderValue::from_static("unlimited")),
            Self::Local if map.has(&X_DEGRADED) => {}
            Self::Local => map.set(X_DEGRADED, HeaderValue::from_static("local")),
        }
    }
}
