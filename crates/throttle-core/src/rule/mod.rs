//! Rules: the description of a limit.
//!
//! A rule allows a *limit* of N requests in each *window* of time W. Its *algorithm* defines how requests are counted.
//! A request has a *cost*, usually 1; an expensive request can count as several. The *burst* is the capacity of a
//! bucket: the number of requests that may come at once after a pause. The *block* is the time for which a key is
//! denied after a denial.
//!
//! Users write a [`Rule`] with a [`Rate`] and an [`Algorithm`]. The limiter converts it to a [`CheckedRule`], whose
//! values are known to be in range. The algorithms use only checked rules.

pub(crate) mod algorithm;
pub(crate) mod checked;
pub(crate) mod definition;
pub(crate) mod error;
mod rate;

pub(crate) use self::error::quoted;
pub use self::{
    algorithm::{Algorithm, UnknownAlgorithm},
    checked::{CheckedRule, MAX_LIMIT, MAX_LOG_LIMIT, MAX_NAME_LEN, MAX_WINDOW},
    definition::{MIN_WINDOW, Rule},
    error::InvalidRule,
    rate::Rate,
};
