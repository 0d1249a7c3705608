//! What can go wrong with a storage, and whether the call may have happened all the same.

use std::{error::Error, fmt};

use crate::{algorithm::CorruptState, rule::quoted};

/// Says why a storage could not do what it was asked, and whether it may have done it.
///
/// A call whose effect is [`Effect::Unknown`] is never sent again: its charge may have been made.
#[derive(Debug)]
pub struct StorageError {
    kind: Kind,
    effect: Effect,
}

/// Says whether a call that failed may have been carried out.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "either it is known or it is not")]
pub enum Effect {
    /// It was not, for certain.
    None,
    /// It may have been.
    Unknown,
}

#[derive(Debug)]
enum Kind {
    NotAnInteger { key: String },
    Overflow { key: String },
    Corrupt { key: String, why: CorruptState },
    OfKey(Box<dyn Error + Send + Sync>),
    Other(Box<dyn Error + Send + Sync>),
}

impl StorageError {
    /// Wraps any error of a call that may have been carried out.
    #[must_use]
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Other(error.into()), effect: Effect::Unknown }
    }

    /// Wraps any error of a call that was not carried out, for certain.
    #[must_use]
    pub fn not_carried_out(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Other(error.into()), effect: Effect::None }
    }

    /// Wraps any error of a call that was not carried out because of what is stored under its key.
    #[must_use]
    pub fn of_key(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::OfKey(error.into()), effect: Effect::None }
    }

    /// Records that the call may have been carried out, if only in part.
    #[must_use]
    pub fn with_unknown_effect(self) -> Self {
        Self { effect: Effect::Unknown, ..self }
    }

    /// Says that a value to be incremented is no whole number; it stayed as it was.
    #[must_use]
    pub fn not_an_integer(key: &str) -> Self {
        Self { kind: Kind::NotAnInteger { key: quoted(key) }, effect: Effect::None }
    }

    /// Says that a sum does not fit in 64 bits; the value stayed as it was.
    #[must_use]
    pub fn overflow(key: &str) -> Self {
        Self { kind: Kind::Overflow { key: quoted(key) }, effect: Effect::None }
    }

    /// Says that the value under a limiter's key is no state.
    #[must_use]
    pub fn corrupt(key: &str, why: CorruptState) -> Self {
        Self { kind: Kind::Corrupt { key: quoted(key), why }, effect: Effect::None }
    }

    /// Returns whether what is stored under the key is wrong, so that other keys are served all the same.
    #[must_use]
    pub fn is_of_key(&self) -> bool {
        !matches!(self.kind, Kind::Other(_))
    }

    /// Returns whether the call may have been carried out.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::NotAnInteger { key } => {
                write!(
                    f,
                    "the value of key {key} is no whole number, so it cannot be incremented; \
                           set it to one or delete it"
                )
            }
            Kind::Overflow { key } => {
                write!(f, "the sum for key {key} does not fit in 64 bits; it stays as it was")
            }
            Kind::Corrupt { key, why } => write!(
                f,
                "key {key} cannot be read: {why}; something else writes under this name: give the \
                 storage a prefix of its own, or delete the key"
            ),
            Kind::OfKey(error) | Kind::Other(error) => write!(f, "the storage failed: {error}"),
        }
    }
}

impl Error for StorageError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.kind {
            Kind::Corrupt { why, .. } => Some(why),
            Kind::OfKey(error) | Kind::Other(error) => Some(&**error),
            _ => None,
        }
    }
}
