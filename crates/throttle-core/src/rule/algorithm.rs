//! Which algorithm counts the requests of a rule.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::rule::error::quoted;

/// Picks how requests are counted.
///
/// N is the limit, W the window, B the burst. "At most" is what can pass in any stretch of length
/// d ≤ W, whatever a client does.
///
/// | algorithm | at most | state | take it for |
/// | --- | --- | --- | --- |
/// | fixed window | N in a window, 2N across an edge | one count | quotas by the calendar |
/// | sliding window counter | N + N·d/W | two counts | most things: it is the default |
/// | sliding window log | N | up to N moments | few, costly requests |
/// | token bucket | B + N·d/W | one number | bursts after a pause |
/// | leaky bucket | B + N·d/W; shaped: 1 + N·d/W | one number | an even stream |
#[derive(Copy, Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Algorithm {
    /// Counts in windows that are aligned to the Unix epoch, which was a Thursday: a window of a day begins at
    /// midnight UTC, one of seven days on Thursdays at 00:00 UTC. There is no other beginning.
    FixedWindow = 1,
    /// Counts in aligned windows, the previous one weighing less as this one goes on.
    #[default]
    SlidingWindowCounter = 2,
    /// Remembers when each request came, for one window.
    SlidingWindowLog = 3,
    /// Holds B tokens, refilled at N / W; a request takes as many as it costs.
    TokenBucket = 4,
    /// Holds a queue of B places, drained at N / W, and tells each request how far its turn is.
    LeakyBucket = 5,
}

impl Algorithm {
    /// All of them, in the order of the docs.
    pub const ALL: [Self; 5] = [
        Self::FixedWindow,
        Self::SlidingWindowCounter,
        Self::SlidingWindowLog,
        Self::TokenBucket,
        Self::LeakyBucket,
    ];

    /// Returns the name as it is written in configuration: `token_bucket`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FixedWindow => "fixed_window",
            Self::SlidingWindowCounter => "sliding_window_counter",
            Self::SlidingWindowLog => "sliding_window_log",
            Self::TokenBucket => "token_bucket",
            Self::LeakyBucket => "leaky_bucket",
        }
    }

    /// Returns the number that stored states and requests to Redis name the algorithm by.
    #[doc(hidden)]
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the algorithm of a [`number`](Self::number), if there is one.
    #[doc(hidden)]
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.number() == number)
    }

    pub(crate) const fn is_bucket(self) -> bool {
        matches!(self, Self::TokenBucket | Self::LeakyBucket)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Says that a text names no algorithm, and which there are.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0} is no algorithm; there are fixed_window, sliding_window_counter, sliding_window_log, \
     token_bucket and leaky_bucket"
)]
pub struct UnknownAlgorithm(String);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name);
        found.ok_or_else(|| UnknownAlgorithm(quoted(name)))
    }
}
