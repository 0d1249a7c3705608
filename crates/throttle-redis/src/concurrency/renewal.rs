//! The task that renews the permits that this process holds.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use throttle_core::StorageError;
use tokio::task::JoinSet;

use super::permits::{Permits, call};

/// The task wakes up each quarter of a lease, and renews leases that are at least a quarter old. So two failed
/// attempts are possible before a lease expires.
const LEASE_PARTS: u32 = 4;
/// The maximum number of calls in flight.
const MAX_CONCURRENT_CALLS: usize = 32;
/// The maximum number of permits in one call, which are all of one key.
const MAX_PERMITS_PER_CALL: usize = 500;

/// Starts the renewal task, unless it runs already.
pub(super) fn begin(permits: &Arc<Permits>) {
    permits.held.keep_renewing(|| {
        let (weak, pause) = (Arc::downgrade(permits), permits.held.lease() / LEASE_PARTS);
        permits.background().spawn(move || keep(Weak::clone(&weak), pause))
    });
}

/// Renews permits until the storage and all of its permits are dropped.
async fn keep(permits: Weak<Permits>, pause: std::time::Duration) {
    let mut is_healthy = true;
    loop {
        tokio::time::sleep(pause).await;
        let Some(permits) = permits.upgrade() else { return };
        match renew_all(&permits, pause).await {
            Ok(()) => is_healthy = true,
            Err(error) if is_healthy => {
                is_healthy = false;
                let lease = permits.held.lease();
                tracing::warn!(
                    target: "ratethrottle::redis",
                    %error, ?lease, "permits cannot be renewed; they become free when their leases expire"
                );
            }
            Err(_) => {}
        }
    }
}

async fn renew_all(permits: &Arc<Permits>, age: std::time::Duration) -> Result<(), StorageError> {
    let mut renewing = JoinSet::new();
    let mut all = Ok(());
    for (key, ids) in permits.held.older_than(age) {
        for ids in ids.chunks(MAX_PERMITS_PER_CALL) {
            if renewing.len() >= MAX_CONCURRENT_CALLS {
                all = all.and(joined(renewing.join_next().await));
            }
            let (permits, key, ids) = (Arc::clone(permits), Arc::clone(&key), ids.to_vec());
            renewing.spawn(async move { renew(&permits, &key, &ids).await });
        }
    }
    while let Some(done) = renewing.join_next().await {
        all = all.and(joined(Some(done)));
    }
    all
}

type Done = Result<Result<(), StorageError>, tokio::task::JoinError>;

fn joined(done: Option<Done>) -> Result<(), StorageError> {
    match done {
        Some(Err(error)) => Err(StorageError::other(error)),
        Some(Ok(done)) => done,
        None => Ok(()),
    }
}

async fn renew(permits: &Permits, key: &Arc<str>, ids: &[Arc<str>]) -> Result<(), StorageError> {
    let sent = Instant::now();
    let absent = extend(permits, key, "renew", ids).await?;
    let is_absent = |id: &&Arc<str>| absent.iter().any(|absent| **absent == ***id);
    permits.held.renewed(ids.iter().filter(|id| !is_absent(id)), sent);
    // Their lease has expired, or Redis lost its data. Permits that are still held are restored, even beyond the
    // limit: their requests run, and no further request may start until enough of them have finished.
    let lost: Vec<_> = ids.iter().filter(is_absent).filter(|id| permits.held.has(id)).collect();
    if lost.is_empty() {
        return Ok(());
    }
    extend(permits, key, "restore", lost.iter().copied()).await?;
    permits.held.renewed(lost.iter().copied(), sent);
    for id in lost {
        if !permits.held.has(id) {
            permits.release(key, id).await; // it may have been released before it was restored
        }
    }
    Ok(())
}

async fn extend(
    permits: &Permits,
    key: &str,
    op: &str,
    ids: impl IntoIterator<Item = &Arc<str>>,
) -> Result<Vec<String>, StorageError> {
    let mut renew = call(key, op);
    renew.arg(permits.held.lease_millis());
    for id in ids {
        renew.arg(&**id);
    }
    permits.run(&renew).await
}
