//! Keys that bring their rules with them, and keys that are waited for.

use std::{future::Future, pin::Pin};

use throttle_core::{Key, StorageError};

use super::into_key::{IntoKey, NoKey};
use crate::picked_rules::{IntoRules, PickedRules};

/// Is the key of a request when it is awaited.
pub type KeyFuture = Pin<Box<dyn Future<Output = Result<KeyWithRules, KeyError>> + Send>>;

/// Holds a key, and the rules that apply to it.
#[derive(Clone, Debug)]
pub struct KeyWithRules {
    pub(crate) key: Key<'static>,
    /// None where it was left to the throttle which apply.
    pub(crate) rules: Option<PickedRules>,
}

/// Says why there is no key after all.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// The request does not say whose it is.
    NoKey(NoKey),
    /// It could not be found out.
    Failed(StorageError),
}

/// Is what an [`AsyncKey`](super::AsyncKey) finds: a key, or a key with rules.
pub trait IntoKeyWithRules {
    /// Returns it, if there is one.
    fn into_key_with_rules(self) -> Option<KeyWithRules>;
}

impl KeyWithRules {
    /// Takes something that is a key, and picks rules for it, as
    /// [`Options::select_rules`](crate::Options::select_rules) does; none where there is no key. Where no rules are
    /// picked, none apply but those that the throttle names for all.
    pub fn new(key: impl IntoKey, rules: impl IntoRules) -> Option<Self> {
        key.into_key().map(|key| Self { key, rules: Some(PickedRules::new(rules)) })
    }

    /// Joins the keys of parts, and what rules they have.
    pub(super) fn join(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut rules: Option<PickedRules> = None;
        let mut keys = Vec::new();
        for part in parts {
            if let Some(picked) = part.rules {
                picked.add_to(rules.get_or_insert_default());
            }
            keys.push(part.key);
        }
        Self { key: Key::join(&keys), rules }
    }
}

impl<K: IntoKey> IntoKeyWithRules for K {
    fn into_key_with_rules(self) -> Option<KeyWithRules> {
        self.into_key().map(|key| KeyWithRules { key, rules: None })
    }
}

impl IntoKeyWithRules for KeyWithRules {
    fn into_key_with_rules(self) -> Option<KeyWithRules> {
        Some(self)
    }
}

impl IntoKeyWithRules for Option<KeyWithRules> {
    fn into_key_with_rules(self) -> Option<KeyWithRules> {
        self
    }
}
