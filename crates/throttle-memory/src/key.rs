//! The key of a slot: in place where it is short, and a borrowed twin for look-ups.

use std::hash::{Hash, Hasher};

use indexmap::Equivalent;
use smallvec::SmallVec;
use throttle_core::{Charge, Key};

/// What an address and a short name take, so that a look-up needs no second place in memory.
const SHORT: usize = 32;

/// Owns an identity and the name of a rule.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct SlotKey {
    /// The identity, then the rule's name.
    bytes: SmallVec<[u8; SHORT]>,
    identity_len: u16,
    digest: bool,
}

/// Borrows the same from a charge.
#[derive(Copy, Clone)]
pub(crate) struct SlotRef<'a> {
    identity: &'a [u8],
    rule: &'a [u8],
    digest: bool,
}

impl<'a> SlotRef<'a> {
    pub(crate) fn of(charge: &Charge<'a>) -> Self {
        let key: &Key<'_> = charge.key();
        Self {
            identity: key.as_bytes(),
            rule: charge.rule().name().as_bytes(),
            digest: key.is_digest(),
        }
    }

    /// Returns what picks the shard: a client's rules share one.
    pub(crate) fn identity(&self) -> &'a [u8] {
        self.identity
    }

    pub(crate) fn to_slot_key(self) -> SlotKey {
        let mut bytes = SmallVec::with_capacity(self.identity.len() + self.rule.len());
        bytes.extend_from_slice(self.identity);
        bytes.extend_from_slice(self.rule);
        let identity_len = u16::try_from(self.identity.len()).unwrap_or(u16::MAX); // ≤ MAX_KEY_LEN
        SlotKey { bytes, identity_len, digest: self.digest }
    }
}

impl SlotKey {
    fn borrow(&self) -> SlotRef<'_> {
        let at = usize::from(self.identity_len).min(self.bytes.len());
        let (identity, rule) = self.bytes.split_at(at);
        SlotRef { identity, rule, digest: self.digest }
    }
}

impl Hash for SlotRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(self.identity);
        state.write(self.rule);
    }
}

impl Hash for SlotKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrow().hash(state);
    }
}

impl Equivalent<SlotKey> for SlotRef<'_> {
    fn equivalent(&self, key: &SlotKey) -> bool {
        let other = key.borrow();
        self.identity == other.identity && self.rule == other.rule && self.digest == other.digest
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use throttle_core::Rule;

    use super::*;

    #[test]
    fn keys_that_try_to_collide_do_not() {
        let tries =
            [("a:b", "c"), ("a", "b:c"), ("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "x")];
        for (i, one) in tries.iter().enumerate() {
            for (j, two) in tries.iter().enumerate() {
                let rule = |name: &str| Arc::new(Rule::per_second(name, 1).check().unwrap());
                let (key, other) = (Key::from(one.0), Key::from(two.0));
                let (rule, other_rule) = (rule(one.1), rule(two.1));
                let charge = Charge::new(&key, &rule, 1);
                let owned = SlotRef::of(&Charge::new(&other, &other_rule, 1)).to_slot_key();
                assert_eq!(SlotRef::of(&charge).equivalent(&owned), i == j, "{one:?} {two:?}");
            }
        }
    }
}
