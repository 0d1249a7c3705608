//! The errors of storages.

use std::{error::Error, fmt, sync::Arc};

use crate::{algorithm::CorruptState, rule::quoted};

/// The error of a failed storage call.
///
/// A failed call may have been carried out ([`StorageError::effect`]), for example if the connection
/// broke before the answer. A call with [`Effect::Unknown`] is never repeated, because that could charge twice.
#[derive(Clone)]
pub struct StorageError {
    kind: Kind,
    effect: Effect,
}

crate::debug_as_text!(StorageError);

/// The effect of a failed call.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[expect(clippy::exhaustive_enums, reason = "either it is known or it is not")]
pub enum Effect {
    /// The call was certainly not carried out.
    None,
    /// The call may have been carried out.
    Unknown,
}

#[derive(Clone, Debug)]
enum Kind {
    NotAnInteger { key: String },
    Overflow { key: String },
    Corrupt { key: String, why: CorruptState },
    OfKey(Arc<dyn Error + Send + Sync>),
    Other(Arc<dyn Error + Send + Sync>),
}

impl StorageError {
    /// Creates the error of a call that may have been carried out.
    #[must_use]
    pub fn other(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Other(error.into().into()), effect: Effect::Unknown }
    }

    /// Creates the error of a call that was certainly not carried out.
    #[must_use]
    pub fn not_carried_out(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::Other(error.into().into()), effect: Effect::None }
    }

    /// Creates the error of a call that was not carried out because of the value stored under its key.
    #[must_use]
    pub fn of_key(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: Kind::OfKey(error.into().into()), effect: Effect::None }
    }

    /// Marks the call as one that may have been carried out, at least in part.
    #[must_use]
    pub fn with_unknown_effect(self) -> Self {
        Self { effect: Effect::Unknown, ..self }
    }

    /// Creates the error for incrementing a value that is not an integer; the value is unchanged.
    #[must_use]
    pub fn not_an_integer(key: &str) -> Self {
        Self { kind: Kind::NotAnInteger { key: quoted(key) }, effect: Effect::None }
    }

    /// Creates the error for a sum that does not fit in 64 bits; the value is unchanged.
    #[must_use]
    pub fn overflow(key: &str) -> Self {
        Self { kind: Kind::Overflow { key: quoted(key) }, effect: Effect::None }
    }

    /// Creates the error for a value under a limiter's key that is not a state.
    #[must_use]
    pub fn corrupt(key: &str, why: CorruptState) -> Self {
        Self { kind: Kind::Corrupt { key: quoted(key), why }, effect: Effect::None }
    }

    /// Returns whether the stored value of this key is the cause, so other keys are not affected.
    #[must_use]
    pub fn is_of_key(&self) -> bool {
        !matches!(self.kind, Kind::Other(_))
    }

    /// Returns whether the failed call may have been carried out.
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
                    "the value of key {key} is not an integer and cannot be incremented; set it to an \
                     integer or delete it"
                )
            }
            Kind::Overflow { key } => {
                write!(f, "the sum for key {key} does not fit in 64 bits; the value is unchanged")
            }
            Kind::Corrupt { key, why } => write!(
                f,
                "key {key} cannot be read: {why}; another program may use the same key: give the \
                 storage its own prefix, or delete the key"
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
