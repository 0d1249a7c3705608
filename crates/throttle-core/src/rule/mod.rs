//! Rules: what users write ([`Rule`], [`Rate`], [`Algorithm`]), and the checked form that arithmetic sees
//! ([`CheckedRule`]).

pub(crate) mod algorithm;
pub(crate) mod checked;
pub(crate) mod definition;
pub(crate) mod error;
mod rate;

pub(crate) use self::error::quoted;
pub use self::{
    algorithm::{Algorithm, UnknownAlgorithm},
    checked::{CheckedRule, MAX_LIMIT, MAX_LOG_LIMIT, MAX_NAME_LEN, MAX_WINDOW, MIN_WINDOW},
    definition::Rule,
    error::InvalidRule,
    rate::Rate,
};
