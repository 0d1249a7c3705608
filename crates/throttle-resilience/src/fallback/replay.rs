//! The replay of deferred charges to the storage after an outage.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use throttle_core::{AtomicStorage, Charge, ChargeRequest, Effect, StorageError, charge_up_to};

use super::{deferred::DeferredCharge, modes::Local, state::Inner};

/// The number of deferred charges that are replayed, one after another, before a pause. The pause leaves a storage that
/// has just recovered time for requests.
const BATCH: usize = 8;
const PAUSE: Duration = Duration::from_millis(1);

/// Replays deferred charges until none is left or a call fails. The remaining charges wait for the next attempt.
pub(super) async fn replay(inner: Arc<Inner>) {
    let Some(local) = &inner.modes.local else { return };
    loop {
        let mut batch = inner.deferred.take(BATCH).into_iter();
        if batch.len() == 0 {
            return;
        }
        while let Some(deferred) = batch.next() {
            match replay_one(&*inner.storage, local, inner.instances(), &deferred).await {
                Ok(charged) => inner.deferred.finish(&deferred, charged),
                Err(error) => {
                    inner.failed(&error);
                    if error.effect() == Effect::None && !error.is_of_key() {
                        inner.deferred.put_back([deferred]);
                    } else {
                        inner.deferred.finish(&deferred, 0); // may have been charged: not retried
                    }
                    inner.deferred.put_back(batch);
                    return;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Replays one deferred charge: the part that still counts, up to the limit. Returns
/// the charged cost.
async fn replay_one(
    storage: &dyn AtomicStorage,
    local: &Local,
    instances: NonZeroU64,
    deferred: &DeferredCharge,
) -> Result<u64, StorageError> {
    let still = still_counts(local, instances, deferred).await?.min(deferred.cost);
    let cost = still.min(deferred.rule.capacity());
    if cost == 0 {
        return Ok(0);
    }
    // A denied replay must not block the key, and a replay must not wait in a shaped queue.
    let rule = Arc::new(deferred.rule.without_block().with_max_delay(Duration::MAX));
    let (mut charged, clock) = (0, deferred.clock.as_ref());
    match charge_up_to(storage, &deferred.key, &rule, cost, clock, &mut charged).await {
        Err(error) if charged == 0 => Err(error),
        _ => Ok(charged), // after an error, the next deferred charge fails, too
    }
}

/// Returns how much of the cost that was allowed locally still counts. The local storage computes it with the algorithm
/// of the rule: costs in expired windows and refilled tokens no longer count.
async fn still_counts(
    local: &Local,
    instances: NonZeroU64,
    deferred: &DeferredCharge,
) -> Result<u64, StorageError> {
    // Without a maximum delay, all free capacity of a shaped rule remains, however late its
    // scheduled times are.
    let share = deferred.rule.fraction(1, instances).without_block();
    let share = Arc::new(share.with_max_delay(Duration::MAX));
    let reply = {
        let charge = [Charge::new(&deferred.key, &share, 1)];
        local.storage.peek(&ChargeRequest::new(&charge, deferred.clock.as_ref()))
    };
    let remaining = reply.await?.verdicts().first().map_or(0, |verdict| verdict.remaining);
    Ok(share.capacity().saturating_sub(remaining))
}
