//! Charging to the storage, when it is back, what was admitted without it.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use throttle_core::{
    AtomicStorage, Charge, ChargeRequest, CheckedRule, Effect, Outcome, StorageError,
};

use super::{debts::Debt, modes::Local, state::Inner};

/// How many debts are charged, one after the other, before a pause, so that the storage that has just
/// come back has time for the requests.
const BATCH: usize = 8;
const PAUSE: Duration = Duration::from_millis(1);
/// How many calls charge one debt at most: the room of a queue may lie in pieces.
const TRIES: usize = 16;

/// Charges all debts, until a call fails: then what is left waits for the next time.
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
                        inner.debts.settle(&debt, 0); // it may have been charged: that is not repeated
                    }
                    inner.debts.put_back(batch);
                    return;
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Charges one debt and says how much of it: what still counts, as far as the limit has room for it.
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
    // A debt that is denied shuts nobody out, and one of a queue waits for no turn.
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

/// Returns how much of what was admitted locally still counts, by the algorithm of the rule: windows
/// that are over and tokens that are refilled do not.
async fn still_counts(
    local: &Local,
    servers: NonZeroU64,
    debt: &Debt,
) -> Result<u64, StorageError> {
    // All that is free of it remains, however far the turns are.
    let share = debt.rule.fraction(1, servers).without_block();
    let share = Arc::new(share.with_max_delay(Duration::MAX));
    let reply = {
        let charge = [Charge::new(&debt.key, &share, 1)];
        local.storage.peek(&ChargeRequest::new(&charge, debt.clock.as_ref()))
    };
    let remaining = reply.await?.verdicts().first().map_or(0, |verdict| verdict.remaining);
    Ok(share.capacity().saturating_sub(remaining))
}
