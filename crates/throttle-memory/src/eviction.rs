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
    let len = shard.slots.len();
    if len == 0 {
        return None;
    }
    let mut sample = [0; SAMPLE];
    for place in &mut sample {
        *place = (next(&mut shard.random) % len as u64) as usize;
    }
    let worth = |place: &usize| {
        let slot = &shard.slots[*place];
        if slot.expires <= now { (0, Micros::ZERO) } else { (slot.heat, slot.expires) }
    };
    let free = sample.iter().filter(|place| !in_use.contains(place));
    let picked = *free.min_by_key(|place| worth(place))?;
    // Slots that were used once are no pressure on the others: a flood of fresh keys cools nobody.
    if shard.slots[picked].heat > COLD {
        for place in sample {
            let slot = &mut shard.slots[place];
            slot.heat = slot.heat.saturating_sub(1);
        }
    }
    Some(picked)
}

/// Steps a xorshift generator (Marsaglia 2003, doi:10.18637/jss.v008.i14).
fn next(random: &mut u64) -> u64 {
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    *random
}
