//! The tag of a stored state: its first byte.
//!
//! A tag is the number of the state's algorithm ([`Algorithm::number`]) and flags. The codec writes and reads it. The
//! Redis storage uses the same numbers in its requests, and [`fill_in`] inserts all of them into its script.

use crate::rule::algorithm::Algorithm;

/// The flag of a state with a block. The script compares tags with flags by size, so the flags must be above all
/// numbers, and this flag above the others.
pub const BLOCKED: u8 = 0x80;
/// The flag of a bucket with a receipt offset.
pub const RECEIPT_OFFSET: u8 = 0x40;
/// The flag of a bucket with freed slots.
pub const FREED_SLOTS: u8 = 0x20;
/// The bits of all flags.
pub const FLAGS: u8 = BLOCKED | RECEIPT_OFFSET | FREED_SLOTS;

const _: () =
    assert!(BLOCKED > RECEIPT_OFFSET | FREED_SLOTS && RECEIPT_OFFSET > FREED_SLOTS | !FLAGS);

/// The number of a state of several algorithms.
pub(super) const MIXED: u8 = !FLAGS;
/// The number of a state without usage.
pub(super) const VACANT: u8 = 0;
pub(super) const FIXED_WINDOW: u8 = Algorithm::FixedWindow.number();
pub(super) const SLIDING_WINDOW_COUNTER: u8 = Algorithm::SlidingWindowCounter.number();
pub(super) const SLIDING_WINDOW_LOG: u8 = Algorithm::SlidingWindowLog.number();
/// The number of both buckets: a rule that is replaced by one with the other bucket keeps its charges.
pub(super) const BUCKET: u8 = Algorithm::TokenBucket.number();

/// Replaces the names of algorithms and flags, in capitals, with their numbers.
#[must_use]
pub fn fill_in(text: &str) -> String {
    names().fold(text.to_owned(), |text, (name, number)| text.replace(&name, &number.to_string()))
}

/// Returns all numbers and flags with their names; no name is a part of another.
fn names() -> impl Iterator<Item = (String, u8)> {
    let others = [
        ("BLOCKED", BLOCKED),
        ("RECEIPT_OFFSET", RECEIPT_OFFSET),
        ("FREED_SLOTS", FREED_SLOTS),
        ("MIXED", MIXED),
    ];
    let algorithms = Algorithm::ALL.into_iter();
    algorithms
        .map(|algorithm| (algorithm.as_str().to_uppercase(), algorithm.number()))
        .chain(others.map(|(name, number)| (name.to_owned(), number)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_algorithms_and_flags_share_a_number_or_a_name() {
        let all: Vec<_> = names().collect();
        assert_eq!(all.len(), Algorithm::ALL.len() + 4);
        for (i, (name, number)) in all.iter().enumerate() {
            assert_ne!(*number, VACANT, "{name}");
            for (other, same) in &all[..i] {
                assert_ne!(number, same, "{name} and {other}");
                assert!(!name.contains(other.as_str()) && !other.contains(name.as_str()), "{name}");
            }
        }
    }

    #[test]
    fn only_names_are_replaced() {
        let text = "kind == SLIDING_WINDOW_LOG and tag - FREED_SLOTS or freed_slots";
        assert_eq!(fill_in(text), "kind == 3 and tag - 32 or freed_slots");
    }

    #[test]
    fn a_number_with_any_flags_is_read_as_that_number() {
        for algorithm in Algorithm::ALL {
            let number = algorithm.number();
            assert_eq!(number & FLAGS, 0, "{algorithm}");
            assert_eq!(Algorithm::from_number((number | FLAGS) & !FLAGS), Some(algorithm));
        }
        assert_eq!(Algorithm::from_number(VACANT), None);
    }
}
