//! The choice of an algorithm.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::rule::error::quoted;

/// The algorithm that counts the requests of a rule.
///
/// N is the limit, W the window, B the burst. "At most" is the number of requests that are allowed in any period of
/// length d ≤ W, regardless of a client's behavior.
///
/// | algorithm | at most | state | use it for |
/// | --- | --- | --- | --- |
/// | fixed window | N in a window, 2N across a boundary | one count | quotas per calendar period |
/// | sliding window counter | N + N·d/W | two counts | most limits (the default) |
/// | sliding window log | N | up to N times | few, expensive requests |
/// | token bucket | B + N·d/W | one number | bursts after a pause |
/// | leaky bucket | B + N·d/W; shaped: 1 + N·d/W | one number | a constant rate |
#[derive(Copy, Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Algorithm {
    /// A count for each window. Windows are aligned to the Unix epoch, a Thursday: a window of a day begins at
    /// midnight UTC, one of seven days on Thursdays at 00:00 UTC. The alignment cannot be changed.
    FixedWindow = 1,
    /// Counts for two aligned windows; the weight of the previous window decreases as the current one progresses.
    ///
    /// The default, because it needs only two counts and has no window edge at which a client could send twice the
    /// limit at once. In return, requests count until the end of the next window: a limit that is used up becomes
    /// available gradually, and the time until the whole limit is available is up to two windows.
    #[default]
    SlidingWindowCounter = 2,
    /// The time of each request, kept for one window.
    SlidingWindowLog = 3,
    /// A bucket of B tokens, refilled at the rate N / W. A request takes as many tokens as it costs.
    TokenBucket = 4,
    /// A queue of B requests, drained at the rate N / W. Each request gets a scheduled time.
    LeakyBucket = 5,
}

impl Algorithm {
    /// All algorithms, in the order of the docs.
    pub const ALL: [Self; 5] = [
        Self::FixedWindow,
        Self::SlidingWindowCounter,
        Self::SlidingWindowLog,
        Self::TokenBucket,
        Self::LeakyBucket,
    ];

    /// Returns the name that is used in configuration, such as `token_bucket`.
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

    /// Returns the number of the algorithm in stored states and in requests to Redis.
    #[doc(hidden)]
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Returns the algorithm with a [`number`](Self::number), if it exists.
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

/// The error for an unknown name of an algorithm.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not an algorithm; use fixed_window, sliding_window_counter, sliding_window_log, \
     token_bucket or leaky_bucket"
)]
pub struct UnknownAlgorithm(String);

crate::debug_as_text!(UnknownAlgorithm);

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name);
        found.ok_or_else(|| UnknownAlgorithm(quoted(name)))
    }
}
