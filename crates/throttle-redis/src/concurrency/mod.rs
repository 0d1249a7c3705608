//! Concurrency limits: permits with leases.
//!
//! The permits of a key are the members of a sorted set. The score of a permit is the time at which its lease
//! expires. One task renews all permits that this process holds. If a process dies, its permits are not renewed,
//! and are free when their leases have expired.

mod held;
mod permits;
mod renewal;

use std::{sync::Arc, time::Duration};

use throttle_core::{
    ConcurrencyKey, ConcurrencyStorage, Effect, PermitGuard, PermitReply, Reply, StorageError,
    complete_on_drop::CompleteOnDrop, pending_work::Pending,
};

use self::{
    held::HeldPermits,
    permits::{Permits, call},
};
use crate::client::Client;

/// The storage of concurrency limits. Clones share the permits that this process holds.
#[derive(Clone)]
pub(crate) struct RedisConcurrency {
    permits: Arc<Permits>,
}

impl RedisConcurrency {
    pub(crate) fn new(client: Arc<Client>, lease: Duration) -> Self {
        Self { permits: Arc::new(Permits::new(client, lease)) }
    }

    /// Waits until no permit is in use, and all work in the background is done.
    pub(crate) async fn shutdown(self) -> Result<(), StorageError> {
        let held = ReportHeld(&self.permits.held);
        let lost = self.permits.background().pending.wait().await;
        drop(held);
        match lost {
            0 => Ok(()),
            _ => Err(StorageError::other(format!("{lost} releases or refunds failed"))),
        }
    }
}

impl ConcurrencyStorage for RedisConcurrency {
    fn take(&self, of: &ConcurrencyKey<'_>, limit: u64) -> Reply<PermitReply> {
        let permits = Arc::clone(&self.permits);
        let key: Arc<str> = permits.client.keys.of_concurrency(of).into();
        Reply::pending(async move {
            // A dropped call is completed in the background, so that a permit that it acquires is released.
            let background = Arc::clone(permits.background());
            let complete = move |take| drop(background.spawn_once(take));
            CompleteOnDrop::new(take(permits, key, limit), complete).await
        })
    }

    fn in_use(&self, of: &ConcurrencyKey<'_>) -> Reply<u64> {
        let permits = Arc::clone(&self.permits);
        let key = permits.client.keys.of_concurrency(of);
        Reply::pending(async move {
            let (_, in_use): (u64, u64) = permits.run(&call(&key, "count")).await?;
            Ok(in_use)
        })
    }
}

async fn take(
    permits: Arc<Permits>,
    key: Arc<str>,
    limit: u64,
) -> Result<PermitReply, StorageError> {
    let id = permits.held.next_id();
    let mut take = call(&key, "take");
    take.arg(permits.held.lease_millis()).arg(limit).arg(&*id);
    match permits.run(&take).await {
        Ok((1, in_use)) => {
            renewal::begin(&permits);
            permits.held.add(&key, &id);
            Ok(PermitReply::permit(PermitGuard::new(Guard::new(permits, key, id)), in_use))
        }
        Ok((_, in_use)) => Ok(PermitReply::full(in_use)),
        Err(error) => {
            if error.effect() == Effect::Unknown {
                drop(Guard::new(permits, key, id)); // the permit may have been acquired, so it is released
            }
            Err(error)
        }
    }
}

/// A guard that reports the permits that are still in use when a shutdown ends, such as at its deadline.
struct ReportHeld<'a>(&'a HeldPermits);

impl Drop for ReportHeld<'_> {
    fn drop(&mut self) {
        let permits = self.0.len();
        if permits > 0 {
            tracing::warn!(target: "ratethrottle::redis", permits, "permits are still in use at the end of the shutdown");
        }
    }
}

/// A guard that releases its permit when it is dropped. If the release fails, the lease expires.
struct Guard {
    permits: Arc<Permits>,
    key: Arc<str>,
    id: Arc<str>,
    /// Counts the permit until it is released, which `drop` begins.
    pending: Option<Pending>,
}

impl Guard {
    fn new(permits: Arc<Permits>, key: Arc<str>, id: Arc<str>) -> Self {
        let pending = Some(permits.background().pending.begin());
        Self { permits, key, id, pending }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.permits.held.remove(&self.id);
        let (permits, key, id) =
            (Arc::clone(&self.permits), Arc::clone(&self.key), Arc::clone(&self.id));
        let pending = self.pending.take();
        // Without a runtime the permit is not released, which a shutdown reports.
        drop(self.permits.background().spawn_once(async move {
            // Only a failure during a shutdown counts: after an earlier one, the lease has expired by then.
            let is_released = permits.release(&key, &id).await;
            let is_ignored = is_released || !permits.background().pending.is_awaited();
            if let Some(pending) = pending.filter(|_| is_ignored) {
                pending.complete();
            }
        }));
    }
}
