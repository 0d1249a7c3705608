//! Charges and refunds.

use std::{fmt, sync::Arc};

use crate::{key::Key, receipt::Receipt, rule::checked::CheckedRule};

/// The charge of one key by one rule.
#[derive(Copy, Clone)]
pub struct Charge<'a> {
    key: &'a Key<'a>,
    rule: &'a Arc<CheckedRule>,
    cost: u64,
}

/// An owned [`Charge`], for calls that outlive their request.
#[derive(Clone, Debug)]
pub struct OwnedCharge {
    key: Key<'static>,
    rule: Arc<CheckedRule>,
    cost: u64,
}

/// The refund of one charge.
#[derive(Copy, Clone, Debug)]
pub struct Refund<'a> {
    charge: Charge<'a>,
    receipt: Option<Receipt>,
}

impl<'a> Charge<'a> {
    /// Creates a charge of `cost` (at least 1) to `key` by `rule`.
    #[inline]
    #[must_use]
    pub fn new(key: &'a Key<'a>, rule: &'a Arc<CheckedRule>, cost: u64) -> Self {
        Self { key, rule, cost: cost.max(1) }
    }

    /// Returns the key that is charged.
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

    /// Returns the cost.
    #[inline]
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Clones the borrowed key and rule into an owned charge.
    #[must_use]
    pub fn to_owned(self) -> OwnedCharge {
        let key = self.key.clone().into_owned();
        OwnedCharge { key, rule: Arc::clone(self.rule), cost: self.cost }
    }

    /// Returns the key of this charge in a storage with text keys: `{identity}:rule`.
    ///
    /// The identity and the name of the rule are written as [`Key::to_token`] does. The key has at most 963 bytes.
    #[must_use]
    pub fn storage_key(&self) -> String {
        let rule = Key::from(self.rule.name()).to_token();
        format!("{{{}}}:{rule}", self.key)
    }
}

impl OwnedCharge {
    /// Returns the charge as a borrowed one.
    #[must_use]
    pub fn borrow(&self) -> Charge<'_> {
        Charge::new(&self.key, &self.rule, self.cost)
    }
}

impl<'a> Refund<'a> {
    /// Creates the refund of a charge: of the one that the receipt identifies, or without a receipt, of the latest
    /// charges of the key. Charges that have expired are not refunded.
    #[inline]
    #[must_use]
    pub fn new(charge: Charge<'a>, receipt: Option<Receipt>) -> Self {
        Self { charge, receipt }
    }

    /// Returns the charge to refund.
    #[must_use]
    pub fn charge(&self) -> Charge<'a> {
        self.charge
    }

    /// Returns the receipt of the charge, if the caller has it.
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
    fn the_longest_storage_key_has_the_documented_length() {
        let key = Key::from(vec![0xff; MAX_KEY_LEN]);
        let rule = Rule::per_minute(" ".repeat(MAX_NAME_LEN), 1).check().unwrap();
        assert_eq!(Charge::new(&key, &Arc::new(rule), 1).storage_key().len(), 963);
    }
}
