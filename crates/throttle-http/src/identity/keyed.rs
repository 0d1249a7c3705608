//! Keys with rules, and asynchronous keys.

use std::{future::Future, pin::Pin};

use throttle_core::{Key, StorageError};

use super::into_key::{IntoKey, NoKey};
use crate::picked_rules::{IntoRules, PickedRules};

/// A future of a key, as [`ExtractKey::extract_later`](super::ExtractKey::extract_later) returns it.
pub type KeyFuture = Pin<Box<dyn Future<Output = Result<KeyWithRules, KeyError>> + Send>>;

/// A key with the rules that apply to it.
#[derive(Clone, Debug)]
pub struct KeyWithRules {
    pub(crate) key: Key<'static>,
    /// The selected rules; `None` if the key selects none, and the throttle decides which apply.
    pub(crate) rules: Option<PickedRules>,
}

/// The reason why an asynchronous key could not be found.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// The request does not identify its client.
    NoKey(NoKey),
    /// The lookup failed.
    Failed(StorageError),
}

/// The result of an [`AsyncKey`](super::AsyncKey): a key, or a key with rules.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a key nor a key with rules",
    label = "not a key",
    note = "return text (`String` or `&'static str`), bytes (`Vec<u8>`), an integer, an `IpAddr`, a `Key<'static>`, a \
            `KeyWithRules`, or an `Option` of these"
)]
pub trait IntoKeyWithRules {
    /// Returns the key with its rules, if there is one.
    fn into_key_with_rules(self) -> Option<KeyWithRules>;
}

impl KeyWithRules {
    /// Creates a key with rules, which are selected as by
    /// [`Options::select_rules`](crate::Options::select_rules). Returns `None` if `key` is `None`.
    ///
    /// If `rules` is empty, only the rules apply that the throttle names for all requests.
    pub fn new(key: impl IntoKey, rules: impl IntoRules) -> Option<Self> {
        key.into_key().map(|key| Self { key, rules: Some(PickedRules::new(rules)) })
    }

    /// Joins the keys and the rules of several parts.
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

#[diagnostic::do_not_recommend]
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
