//! Errors of calls that were not sent.

use std::time::Duration;

use throttle_core::Error;

use crate::{config_error::ConfigError, identity::NoKey, options::NoCost};

/// The reason why a call was not sent. Nothing of it reached the server, and its charge was refunded.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// A limit would delay the call longer than it may wait.
    #[error(
        "the limit {rule:?} delays the call by {wait:?}, but it may wait for at most {left:?}: make fewer \
         calls, or allow longer waits with `.max_wait(…)`"
    )]
    TooLong {
        /// The rule with the longest wait.
        rule: String,
        /// The time until the call would be allowed.
        wait: Duration,
        /// The rest of the time that the call may wait.
        left: Duration,
    },
    /// The server requested a pause that is longer than the call may wait.
    #[error("the server requests a pause of {wait:?}, but the call may wait for at most {left:?}")]
    Paused {
        /// The time until the pause ends.
        wait: Duration,
        /// The rest of the time that the call may wait.
        left: Duration,
    },
    /// The call costs more than a rule ever allows.
    #[error("the call costs more than {limit}, the most that the limit {rule:?} allows at once")]
    TooCostly {
        /// The rule.
        rule: String,
        /// The highest cost of a call.
        limit: u64,
    },
    /// The key of the call is permanently on the deny list.
    #[error("the key of the call is on the deny list")]
    DenyListed,
    /// The call has no key.
    #[error(transparent)]
    NoKey(NoKey),
    /// The cost of the call is unknown.
    #[error(transparent)]
    NoCost(NoCost),
    /// The limiter failed.
    #[error("the limits of the call cannot be checked: {0}")]
    Limiter(#[source] Error),
    /// The limits are not configured correctly.
    #[error("the outbound limits are not configured correctly: {0}")]
    Config(#[source] ConfigError),
}

throttle_core::debug_as_text!(OutboundError);

impl OutboundError {
    /// Returns the time after which the call may be sent, if waiting helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooLong { wait, .. } | Self::Paused { wait, .. } => Some(*wait),
            _ => None,
        }
    }
}
