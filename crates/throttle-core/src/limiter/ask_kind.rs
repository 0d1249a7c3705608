//! The kinds of requests that adapters make.

use std::{sync::Arc, time::Duration};

use super::active_rule::ActiveRule;
use crate::rule::checked::CheckedRule;

/// The kind of a request to [`Limiter::begin`](crate::Limiter::begin).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskKind {
    /// Charges the request if all rules allow it. A denial is a violation, and starts the rule's block.
    Acquire,
    /// Decides as [`Acquire`](Self::Acquire) would, but charges nothing, blocks nothing and counts nothing in the
    /// metrics.
    Peek,
    /// Charges as [`Acquire`](Self::Acquire), for callers that wait after a denial and then ask again. A denial is not
    /// a violation, is not counted in the metrics, and does not start a block.
    Wait {
        /// The longest delay of a leaky bucket; it denies requests that would be scheduled later.
        max_delay: Duration,
    },
    /// Charges as [`Acquire`](Self::Acquire), for callers that delay a request until the time for which a leaky
    /// bucket schedules it.
    Shape {
        /// The longest delay of a leaky bucket; it denies requests that would be scheduled later.
        max_delay: Duration,
    },
}

impl AskKind {
    /// Returns whether the rules apply unchanged, so [`adjusted`](Self::adjusted) returns `None` for all of them.
    #[inline]
    pub(super) fn uses_rules_unchanged(self) -> bool {
        matches!(self, Self::Acquire | Self::Peek)
    }

    /// Returns the rule to use for a request of this kind, if it differs from the one of the limiter.
    pub(super) fn adjusted(self, active: &ActiveRule) -> Option<Arc<CheckedRule>> {
        match self {
            Self::Acquire | Self::Peek => None,
            Self::Wait { max_delay } => {
                let rule = active.rule.with_max_delay(max_delay);
                let differs = rule.max_delay().or(rule.block()).is_some();
                differs.then(|| Arc::new(rule.without_block()))
            }
            Self::Shape { max_delay } => active.shaped(max_delay),
        }
    }
}
