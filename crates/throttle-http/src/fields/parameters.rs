//! The parameters of `RateLimit-Policy` and `RateLimit`, by their names in [revision 11] of the IETF draft.
//!
//! Everything that writes or reads the parameters uses this table. To follow a revision that renames or adds one,
//! change the table only.
//!
//! [revision 11]: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11

use throttle_core::{Decision, Decisions};

/// The greatest integer of a structured field (RFC 9651, section 3.3.1).
pub(super) const MAX_INTEGER: u64 = 999_999_999_999_999;

/// A parameter as it is written: `;name=`.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Parameter(pub(super) &'static str);

impl Parameter {
    /// Returns the name.
    pub(crate) fn name(self) -> &'static str {
        self.0.trim_matches([';', '='])
    }
}

/// The quota of a policy: the most that can be spent at once.
pub(super) const QUOTA: Parameter = Parameter(";q=");
/// The unit of the quota, if it is not requests.
pub(super) const QUOTA_UNIT: Parameter = Parameter(";qu=");
/// The window of a policy, in seconds.
pub(super) const WINDOW: Parameter = Parameter(";w=");
/// The partition key of both fields.
pub(super) const PARTITION_KEY: Parameter = Parameter(";pk=");
/// The available quota: what one request can cost now.
pub(crate) const AVAILABLE_QUOTA: Parameter = Parameter(";r=");
/// The effective window, in seconds.
pub(crate) const EFFECTIVE_WINDOW: Parameter = Parameter(";t=");

/// The first parameter of `RateLimit`, which every rule has.
pub(super) const FIRST: (Parameter, fn(&Decision) -> u64) = (AVAILABLE_QUOTA, Decision::remaining);

/// The further parameters of `RateLimit` with numbers. `None` leaves the parameter out.
pub(super) const FURTHER: [(Parameter, Optional); 1] = [(EFFECTIVE_WINDOW, effective_window)];

/// Returns the value of a parameter for one of the decisions.
pub(super) type Optional = fn(&Decision, &Decisions) -> Option<u64>;

fn effective_window(decision: &Decision, decisions: &Decisions) -> Option<u64> {
    wait_secs(decision, decisions.is_allowed())
}

/// Returns how many seconds a client has to wait: at least 1 for a rule that denies, and `None` if waiting does not
/// help, or if the wait is unknown.
pub(super) fn wait_secs(decision: &Decision, request_allowed: bool) -> Option<u64> {
    if decision.is_concurrency() && decision.listed().is_none() {
        return None; // it is unknown when a permit will be released
    }
    let verdict = decision.verdict();
    if request_allowed || verdict.allowed {
        return Some(verdict.reset_after.as_secs_ceil());
    }
    verdict.retry_after.map(|wait| wait.as_secs_ceil().max(1))
}
