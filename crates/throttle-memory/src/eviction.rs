//! Which slot goes when a shard is full.
//!
//! A sampled least-frequently-used policy with aging, such as Redis has
//! (<https://redis.io/docs/latest/develop/reference/eviction/>), over slots that know when they stop
//! to matter and whether they are being limited.

use hashbrown::HashTable;
use throttle_core::Micros;

use crate::slot::Slot;

/// The heat of a slot that was used once.
const COLD: u8 = 1;
const SAMPLE: usize = 8;

/// Picks the slot that is missed least; none when all that were looked at are in use. `random` is the state of
/// the generator, not zero.
pub(crate) fn pick(
    slots: &mut HashTable<Slot>,
    random: &mut u64,
    in_use: &[usize],
    now: Micros,
) -> Option<usize> {
    if slots.is_empty() {
        return None;
    }
    let sample: [usize; SAMPLE] = std::array::from_fn(|_| any_place(slots, random));
    let worth = |place: &usize| match slots.get_bucket(*place) {
        Some(slot) if slot.expires > now => (slot.key.heat, slot.expires),
        _ => (0, Micros::ZERO),
    };
    let free = sample.iter().filter(|place| !in_use.contains(place));
    let picked = *free.min_by_key(|place| worth(place))?;
    // Slots that were used once are no pressure on the others: a flood of fresh keys cools nobody.
    if slots.get_bucket(picked).is_some_and(|slot| slot.key.heat > COLD) {
        for place in sample {
            if let Some(slot) = slots.get_bucket_mut(place) {
                slot.key.heat = slot.key.heat.saturating_sub(1);
            }
        }
    }
    Some(picked)
}

/// Returns a random place that holds a slot; there is one, and mostly every other place does.
fn any_place(slots: &HashTable<Slot>, random: &mut u64) -> usize {
    const TRIES: usize = 16;
    let buckets = slots.num_buckets();
    let mut place = 0;
    for _ in 0..TRIES {
        place = (next(random) % buckets as u64) as usize;
        if slots.get_bucket(place).is_some() {
            return place;
        }
    }
    while slots.get_bucket(place).is_none() {
        place = (place + 1) % buckets;
    }
    place
}

/// Steps a xorshift generator (Marsaglia 2003, doi:10.18637/jss.v008.i14).
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}
