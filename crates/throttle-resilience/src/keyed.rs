//! Helpers of wrappers that keep data by key.

use std::{hash::Hasher, sync::Arc};

use throttle_core::{ChargeRequest, Clock, Key};

/// Returns the key of a request, if all its charges have the same key.
pub(crate) fn only_key<'a>(request: &ChargeRequest<'a>) -> Option<&'a Key<'a>> {
    let (first, rest) = request.charges().split_first()?;
    rest.iter().all(|charge| charge.key() == first.key()).then_some(first.key())
}

/// Returns whether both are the same clock.
pub(crate) fn same_clock(one: Option<&Arc<dyn Clock>>, two: Option<&Arc<dyn Clock>>) -> bool {
    match (one, two) {
        (None, None) => true,
        (Some(one), Some(two)) => Arc::ptr_eq(one, two),
        _ => false,
    }
}

/// A hasher for keys that are hashes already.
#[derive(Default)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte); // keys are one u64 and nothing else
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}
