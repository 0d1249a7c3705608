//! One charge, and its refund.

use std::{fmt, sync::Arc};

use crate::{key::Key, receipt::Receipt, rule::checked::CheckedRule};

/// Charges one key by one rule.
#[derive(Copy, Clone)]
pub struct Charge<'a> {
    key: &'a Key<'a>,
    rule: &'a Arc<CheckedRule>,
    cost: u64,
}

/// Owns what a [`Charge`] borrows, for calls that outlive their request.
#[derive(Clone, Debug)]
pub struct OwnedCharge {
    key: Key<'static>,
    rule: Arc<CheckedRule>,
    cost: u64,
}

/// Gives back one charge.
#[derive(Copy, Clone, Debug)]
pub struct Refund<'a> {
    charge: Charge<'a>,
    receipt: Option<Receipt>,
}

impl<'a> Charge<'a> {
    /// Charges `cost` (at least 1) to `key` by `rule`.
    #[inline]
    #[must_use]
    pub fn new(key: &'a Key<'a>, rule: &'a Arc<CheckedRule>, cost: u64) -> Self {
        Self { key, rule, cost: cost.max(1) }
    }

    /// Returns who is charged.
    #[inline]
    #[must_use]
    pub fn key(&self) -> &'a Key<'a> {
        self.key
    }

    /// Returns the rule.
    #[inline]
    #[must_use]
    pub fn rule(&self) -> &'a Arc<CheckedRule> {
        self.rule
    }

    /// Returns how much is charged.
    #[inline]
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Returns the same charge with a lifetime of its own.
    #[must_use]
    pub fn to_owned(self) -> OwnedCharge {
        let key = self.key.clone().into_owned();
        OwnedCharge { key, rule: Arc::clone(self.rule), cost: self.cost }
    }

    /// Returns the key of this charge in a storage of texts: `{identity}:rule`, where the identity is
    /// written as [`Key::to_token`] and the rule's name in the same way: at most 963 bytes.
    #[must_use]
    pub fn storage_key(&self) -> String {
        let rule = Key::from(self.rule.name()).to_token();
        format!("{{{}}}:{rule}", self.key)
    }
}

impl OwnedCharge {
    /// Lends the charge.
    #[must_use]
    pub fn borrow(&self) -> Charge<'_> {
        Charge::new(&self.key, &self.rule, self.cost)
    }
}

impl<'a> Refund<'a> {
    /// Gives back `charge`: what is left of the one that the receipt names, or of the latest ones.
    #[inline]
    #[must_use]
    pub fn new(charge: Charge<'a>, receipt: Option<Receipt>) -> Self {
        Self { charge, receipt }
    }

    /// Returns what is given back.
    #[must_use]
    pub fn charge(&self) -> Charge<'a> {
        self.charge
    }

    /// Returns what was charged, if the caller knows.
    #[must_use]
    pub fn receipt(&self) -> Option<Receipt> {
        self.receipt
    }
}

impl fmt::Debug for Charge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}×{} by {:?}", self.cost, self.key, self.rule.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        key::MAX_KEY_LEN,
        rule::{Rule, checked::MAX_NAME_LEN},
    };

    #[test]
    fn the_longest_storage_key_is_as_long_as_the_docs_say() {
        let key = Key::from(vec![0xff; MAX_KEY_LEN]);
        let rule = Rule::per_minute(" ".repeat(MAX_NAME_LEN), 1).check().unwrap();
        assert_eq!(Charge::new(&key, &Arc::new(rule), 1).storage_key().len(), 963);
    }
}
