//! Why a call was not sent.

use std::{sync::Arc, time::Duration};

use throttle_core::Error;

use crate::{config_error::ConfigError, identity::NoKey, options::NoCost};

/// Says why a call was not sent. Nothing of it reached the server, and its place was given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboundError {
    /// A limit would have it wait longer than it may.
    #[error(
        "the limit {rule:?} lets the call pass in {wait:?} only, and it may wait for {left:?}; \
         make fewer calls, or let them wait longer with `.max_wait(…)`"
    )]
    TooLong {
        /// The rule with the longest wait.
        rule: String,
        /// After how long a call may pass.
        wait: Duration,
        /// How much longer it may have waited.
        left: Duration,
    },
    /// The server asked for a pause, which is longer than the call may wait.
    #[error("the server asks to be left alone for {wait:?}, and the call may wait for {left:?}")]
    Paused {
        /// When the pause ends.
        wait: Duration,
        /// How much longer the call may have waited.
        left: Duration,
    },
    /// It costs more than the rule ever allows at once.
    #[error("the call costs more than {limit}, which is all that the limit {rule:?} ever allows")]
    TooCostly {
        /// The rule.
        rule: String,
        /// The most that a call may cost.
        limit: u64,
    },
    /// Its key is on the deny list of the limiter for good.
    #[error("the key of the call is on the deny list")]
    Banned,
    /// It has no key.
    #[error(transparent)]
    NoKey(NoKey),
    /// Its cost cannot be told.
    #[error(transparent)]
    NoCost(NoCost),
    /// The limiter could not decide.
    #[error("the limit of the call cannot be decided: {0}")]
    Limiter(#[source] Error),
    /// The limits cannot be used as they are configured.
    #[error("the limits of calls cannot be used: {0}")]
    Config(#[source] Arc<ConfigError>),
}

impl OutboundError {
    /// Returns after how long a call may be sent, where that is what was wrong.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooLong { wait, .. } | Self::Paused { wait, .. } => Some(*wait),
            _ => None,
        }
    }
}
