//! The expected keys and answers of Redis, computed by the arithmetic of core.

use std::collections::HashMap;

use throttle_core::{
    Algorithm, Charge, Micros, Outcome, Refund, State, acquire, peek, refund, tag,
};

use super::server::storage_key;
use crate::script::Op;

/// The expected states. Like the script, it stores a state only after a charge, a block, or a clock that stepped back.
#[derive(Default)]
pub(super) struct Model {
    states: HashMap<String, State>,
}

impl Model {
    pub(super) fn acquire(&mut self, op: Op, charges: &[Charge<'_>], now: Micros) -> Outcome {
        let before: Vec<_> = charges.iter().map(|charge| self.state(charge)).collect();
        let mut after = before.clone();
        let seen = peek(charges, now, &mut before.clone());
        let outcome = match op {
            Op::Acquire => acquire(charges, now, &mut after),
            Op::Peek => peek(charges, now, &mut after),
        };
        for (i, (charge, state)) in charges.iter().zip(after).enumerate() {
            let charged = op == Op::Acquire && outcome.is_allowed();
            let blocked = outcome.verdicts()[i].blocked && !seen.verdicts()[i].blocked;
            if charged || blocked || is_ahead(&before[i], charge, now) {
                self.keep(charge, state, now);
            }
        }
        outcome
    }

    pub(super) fn refund(&mut self, refunds: &[Refund<'_>], now: Micros) {
        for charged in refunds {
            let mut state = self.state(&charged.charge());
            refund(charged, now, &mut state);
            self.keep(&charged.charge(), state, now);
        }
    }

    /// Returns the expected keys, sorted.
    pub(super) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.states.keys().cloned().collect();
        keys.sort_unstable();
        keys
    }

    /// Returns the expected tag of the state of a key.
    pub(super) fn tag(&self, key: &str) -> u8 {
        self.states[key].encode()[0]
    }

    fn state(&self, charge: &Charge<'_>) -> State {
        self.states.get(&storage_key(charge)).cloned().unwrap_or_default()
    }

    fn keep(&mut self, charge: &Charge<'_>, state: State, now: Micros) {
        if state.lifetime(charge.rule(), now) == Micros::ZERO {
            self.states.remove(&storage_key(charge));
        } else {
            self.states.insert(storage_key(charge), state);
        }
    }
}

/// Returns whether a state is from later than now, without regard to states of other algorithms.
fn is_ahead(state: &State, charge: &Charge<'_>, now: Micros) -> bool {
    let bytes = state.encode();
    let mut numbers = Numbers(&bytes[1..]);
    let block_is_ahead =
        bytes[0] & tag::BLOCKED != 0 && numbers.next() > now.get() + numbers.next();
    let of = match charge.rule().algorithm() {
        Algorithm::LeakyBucket => Algorithm::TokenBucket, // both have the same state
        algorithm => algorithm,
    };
    let tag = bytes[0] & !tag::BLOCKED;
    let is_mixed = tag == !tag::FLAGS;
    let count = if is_mixed { numbers.next() } else { 1 };
    let usage_is_ahead = (0..count).any(|_| {
        let tag = if is_mixed { numbers.byte() } else { tag };
        let at = numbers.usage(tag);
        Algorithm::from_number(tag & !tag::FLAGS) == Some(of) && at > now.get()
    });
    block_is_ahead || usage_is_ahead
}

/// The LEB128 numbers of an encoded state. Numbers above 64 bits (the backlog of a bucket) can only be skipped.
struct Numbers<'a>(&'a [u8]);

impl Numbers<'_> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap();
        self.0 = rest;
        *byte
    }

    fn next(&mut self) -> u64 {
        let len = self.0.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let (number, rest) = self.0.split_at(len);
        self.0 = rest;
        number.iter().rev().fold(0, |sum, byte| (sum << 7) | u64::from(byte & 0x7f))
    }

    fn skip(&mut self, numbers: u64) {
        (0..numbers).for_each(|_| _ = self.next());
    }

    /// Reads the numbers after a tag, and returns the time of the state.
    fn usage(&mut self, tag: u8) -> u64 {
        match Algorithm::from_number(tag & !tag::FLAGS) {
            Some(Algorithm::FixedWindow) => (self.next(), self.skip(2)).0,
            Some(Algorithm::SlidingWindowCounter) => (self.next(), self.skip(3)).0,
            Some(Algorithm::SlidingWindowLog) => {
                self.skip(1);
                let entries = self.next();
                (0..entries).map(|_| (self.next(), self.skip(1)).0).sum()
            }
            Some(_) => {
                self.skip(1);
                let at = self.next();
                self.skip(2);
                match tag & tag::FLAGS {
                    tag::RECEIPT_OFFSET => self.skip(2),
                    tag::FREED_SLOTS => {
                        let slots = self.next();
                        self.skip(2 * slots);
                    }
                    _ => {}
                }
                at
            }
            None => 0,
        }
    }
}
