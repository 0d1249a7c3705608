//! Which slot goes when a shard is full.
//!
//! A sampled least-frequently-used policy with aging, such as Redis has
//! (<https://redis.io/docs/latest/develop/reference/eviction/>), over slots that know when they stop
//! to matter and whether they are being limited.

use throttle_core::Micros;

use crate::shard::Shard;

/// The heat of a slot that has just denied.
pub(crate) const HOTTEST: u8 = 16;
/// The heat of a slot that was used once.
const COLD: u8 = 1;
const SAMPLE: usize = 8;

/// Picks the slot that is missed least; none when all that were looked at are in use.
pub(crate) fn pick(shard: &mut Shard, in_use: &[usize], now: Micros) -> Option<usize> {
    if shard.slots.is_empty() {
        return None;
    }
    let sample: [usize; SAMPLE] = std::array::from_fn(|_| any_place(shard));
    let worth = |place: &usize| match shard.slots.get_bucket(*place) {
        Some(slot) if slot.expires > now => (slot.key.heat, slot.expires),
        _ => (0, Micros::ZERO),
    };
    let free = sample.iter().filter(|place| !in_use.contains(place));
    let picked = *free.min_by_key(|place| worth(place))?;
    // Slots that were used once are no pressure on the others: a flood of fresh keys cools nobody.
    if shard.slot(picked).key.heat > COLD {
        for place in sample {
            let slot = shard.slot(place);
            slot.key.heat = slot.key.heat.saturating_sub(1);
        }
    }
    Some(picked)
}

/// Returns a random place that holds a slot; there is one, and mostly every other place does.
fn any_place(shard: &mut Shard) -> usize {
    const TRIES: usize = 16;
    let buckets = shard.slots.num_buckets();
    let mut place = 0;
    for _ in 0..TRIES {
        place = (next(&mut shard.random) % buckets as u64) as usize;
        if shard.slots.get_bucket(place).is_some() {
            return place;
        }
    }
    while shard.slots.get_bucket(place).is_none() {
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
