//! The key of a slot, and its borrowed form for look-ups.

use smallvec::SmallVec;
use throttle_core::{Charge, Key};

/// The inline size, which fits an address and a short rule name, so most lookups read no other memory.
const INLINE: usize = 32;

/// An identity and the name of a rule.
#[derive(Debug)]
pub(crate) struct SlotKey {
    /// The identity, then the rule's name.
    bytes: SmallVec<[u8; INLINE]>,
    hash: u64,
    identity_len: u16,
    digest: bool,
    /// The use count for eviction. It is not part of the key, but uses its padding.
    pub(crate) lfu: u8,
    /// The number of the slot, counted as slots are created, modulo 2^32. Like `lfu`, it only uses the padding.
    pub(crate) made: u32,
}

/// The borrowed form of a [`SlotKey`], from a charge.
#[derive(Copy, Clone)]
pub(crate) struct SlotRef<'a> {
    identity: &'a [u8],
    rule: &'a [u8],
    digest: bool,
    identity_hash: u64,
    hash: u64,
}

impl<'a> SlotRef<'a> {
    /// Creates the key of a charge. The hasher has random keys, because clients choose identities and could otherwise
    /// cause collisions.
    #[inline]
    pub(crate) fn of(charge: &Charge<'a>, hasher: &ahash::RandomState) -> Self {
        let key: &Key<'_> = charge.key();
        let identity = key.as_bytes();
        let identity_hash = hasher.hash_one(identity);
        Self {
            identity,
            rule: charge.rule().name().as_bytes(),
            digest: key.is_digest(),
            identity_hash,
            hash: identity_hash ^ charge.rule().name_hash(),
        }
    }

    /// Returns the hash that selects the shard. All rules of an identity are in one shard.
    #[inline]
    pub(crate) fn identity_hash(&self) -> u64 {
        self.identity_hash
    }

    /// Returns the hash that selects the slot within its shard.
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Returns whether `key` equals this key.
    #[inline]
    pub(crate) fn is(&self, key: &SlotKey) -> bool {
        self.hash == key.hash
            && (self.identity, self.rule) == key.parts()
            && self.digest == key.digest
    }

    pub(crate) fn to_slot_key(self) -> SlotKey {
        let mut bytes = SmallVec::with_capacity(self.identity.len() + self.rule.len());
        bytes.extend_from_slice(self.identity);
        bytes.extend_from_slice(self.rule);
        let identity_len = u16::try_from(self.identity.len()).unwrap_or(u16::MAX); // ≤ MAX_KEY_LEN
        SlotKey { bytes, hash: self.hash, identity_len, digest: self.digest, lfu: 0, made: 0 }
    }
}

impl SlotKey {
    #[inline]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    #[inline]
    fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(usize::from(self.identity_len).min(self.bytes.len()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use throttle_core::Rule;

    use super::*;

    #[test]
    fn keys_with_the_same_concatenated_bytes_are_different() {
        let tries =
            [("a:b", "c"), ("a", "b:c"), ("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "x")];
        for (i, one) in tries.iter().enumerate() {
            for (j, two) in tries.iter().enumerate() {
                let rule = |name: &str| Arc::new(Rule::per_second(name, 1).check().unwrap());
                let (key, other) = (Key::from(one.0), Key::from(two.0));
                let (rule, other_rule) = (rule(one.1), rule(two.1));
                let hasher = ahash::RandomState::new();
                let charge = Charge::new(&key, &rule, 1);
                let other = Charge::new(&other, &other_rule, 1);
                let owned = SlotRef::of(&other, &hasher).to_slot_key();
                let same = SlotRef::of(&charge, &hasher).is(&owned);
                assert_eq!(same, i == j, "{one:?} {two:?}");
            }
        }
    }
}
