//! Replays deferred charges to the storage after an outage.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use throttle_core::{
    AtomicStorage, Charge, ChargeRequest, CheckedRule, Effect, Outcome, StorageError,
};

use super::{debts::Debt, modes::Local, state::Inner};

/// How many deferred charges are replayed, one after another, before a pause. It leaves a storage
/// that has just recovered time for requests.
const BATCH: usize = 8;
const PAUSE: Duration = Duration::from_millis(1);
/// How many calls charge one debt at most: the room of a queue may lie in pieces.
const TRIES: usize = 16;

/// Replays deferred charges until none is left or a call fails. What is left then waits for the
/// next attempt.
pub(super) async fn repay(inner: Arc<Inner>) {
    let Some(local) = &inner.modes.local else { return };
    loop {
        let mut batch = inner.debts.take(BATCH).into_iter();
        if batch.len() == 0 {
            return;
        }
        while let Some(debt) = batch.next() {
            match repay_one(&*inner.storage, local, inner.servers(), &debt).await {
                Ok(charged) => inner.debts.settle(&debt, charged),
                Err(error) => {
                    inner.failed(&error);
                    if error.effect() == Effect::None && !error.is_of_key() {
                        inner.debts.put_back([debt]);
                    } else {
                        inner.debts.settle(&debt, 0); // may have been charged: not retried
                    }
                    inner.debts.put_back(batch);
                    return;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Replays one deferred charge: the part that still counts, as far as the limit has room. Returns
/// the charged cost.
async fn repay_one(
    storage: &dyn AtomicStorage,
    local: &Local,
    servers: NonZeroU64,
    debt: &Debt,
) -> Result<u64, StorageError> {
    let still = still_counts(local, servers, debt).await?.min(debt.cost);
    let cost = still.min(debt.rule.capacity());
    if cost == 0 {
        return Ok(0);
    }
    // A denied replay must not block the key, and a replay must not wait in a shaped queue.
    let rule = Arc::new(debt.rule.without_block().with_max_delay(Duration::MAX));
    let (mut charged, mut asked) = (0, cost);
    for _ in 0..TRIES {
        let outcome = match charge(storage, debt, &rule, asked).await {
            Err(_) if charged > 0 => break, // the next debt meets the failure, too
            answer => answer?,
        };
        if outcome.is_allowed() {
            charged += asked;
        }
        let room = outcome.verdicts().first().map_or(0, |verdict| verdict.remaining);
        asked = room.min(cost - charged);
        if asked == 0 {
            break;
        }
    }
    Ok(charged)
}

async fn charge(
    storage: &dyn AtomicStorage,
    debt: &Debt,
    rule: &Arc<CheckedRule>,
    cost: u64,
) -> Result<Outcome, StorageError> {
    let reply = {
        let charge = [Charge::new(&debt.key, rule, cost)];
        storage.acquire(&ChargeRequest::new(&charge, debt.clock.as_ref()))
    };
    reply.await
}

/// Returns how much of the locally allowed cost still counts. The local storage knows it by the
/// rule's algorithm: expired windows and refilled tokens no longer count.
async fn still_counts(
    local: &Local,
    servers: NonZeroU64,
    debt: &Debt,
) -> Result<u64, StorageError> {
    // Without a maximum delay, all free capacity of a shaped rule remains, however late its
    // scheduled times are.
    let share = debt.rule.fraction(1, servers).without_block();
    let share = Arc::new(share.with_max_delay(Duration::MAX));
    let reply = {
        let charge = [Charge::new(&debt.key, &share, 1)];
        local.storage.peek(&ChargeRequest::new(&charge, debt.clock.as_ref()))
    };
    let remaining = reply.await?.verdicts().first().map_or(0, |verdict| verdict.remaining);
    Ok(share.capacity().saturating_sub(remaining))
}
