//! Maintenance of leases: returns permits that are not spent.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use smallvec::SmallVec;
use throttle_core::{AtomicStorage, Charge, Clock, OwnedCharge, Refund, Reply, StorageError};
use tokio::runtime::Handle;

use super::{
    lease::Batch,
    pending_fetch::Invalidation,
    plan::Plan,
    state::Inner,
    table::{Return, Shard},
};
use crate::keyed::same_clock;

/// The period of maintenance.
const EVERY: Duration = Duration::from_millis(100);
/// The maximum number of refunds in one call.
const IN_ONE_CALL: usize = 32;

impl Inner {
    /// Starts the maintenance task unless it runs. It ends when no lease is left.
    pub(super) fn start_maintenance(self: &Arc<Self>) {
        if self.maintaining.load(Relaxed) || self.maintaining.swap(true, Relaxed) {
            return;
        }
        let mut maintaining = MaintenanceGuard(Arc::downgrade(self));
        self.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let Some(inner) = maintaining.0.upgrade() else { return };
                let pending = inner.pending.begin(); // before the permits are taken out
                let _returned = inner.return_permits(inner.collect()).await;
                pending.complete();
                if inner.table.is_empty() {
                    inner.maintaining.store(false, Relaxed);
                    // A lease created before the store saw the task as running, so check again:
                    // either the table is empty, or this task or another continues.
                    if inner.table.is_empty() || inner.maintaining.swap(true, Relaxed) {
                        maintaining.disarm();
                        return;
                    }
                }
            }
        });
    }

    /// Ends cold leases, trims large ones, and returns the permits to give to the storage.
    fn collect(&self) -> Vec<Return> {
        let mut returns = Vec::new();
        self.table.each(|shard| {
            shard.visit(|hash, of_key| {
                of_key.leases.retain(|held| {
                    let now = self.now(held.clock.as_ref());
                    let lease = &mut held.lease;
                    lease.advance(now);
                    let cold = lease.is_cold(now) || self.has_ended();
                    match cold {
                        true => lease.end(),
                        false => lease.trim(now, self.most(&lease.plan)),
                    }
                    !(cold && lease.is_empty())
                });
                of_key.returns(hash, &mut returns);
            });
        });
        returns
    }

    /// Returns all held permits, and the error of the last call that failed.
    pub(super) async fn flush(self: &Arc<Self>) -> Result<(), StorageError> {
        let mut returns = Vec::new();
        let mut pending_fetches = Vec::new();
        self.table.each(|shard| {
            shard.visit(|hash, of_key| {
                pending_fetches.extend(of_key.invalidate(
                    hash,
                    None,
                    Invalidation::Return,
                    &mut returns,
                ));
            });
        });
        let returned = self.return_permits(returns).await;
        for pending_fetch in pending_fetches {
            // A batch that is still granted is returned before this completes.
            pending_fetch.wait().await;
        }
        returned
    }

    pub(super) async fn close(self: &Arc<Self>) -> Result<(), StorageError> {
        self.ended.store(true, Relaxed);
        self.flush().await
    }

    pub(super) fn stop_without_runtime(&self) {
        if !self.ended.swap(true, Relaxed) {
            tracing::error!(
                target: "ratethrottle::resilience",
                "leases need a tokio runtime: no permits are leased, and each request calls the storage"
            );
        }
    }

    pub(super) fn return_in_background(self: &Arc<Self>, returns: Vec<Return>) {
        let reply = self.return_permits(returns);
        self.in_background(reply);
    }

    /// Runs work on the runtime of the storage, since that of a worker thread may end first, or else
    /// on the current one. Returns whether there is one; without one, the work is dropped.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let Err(work) = self.storage.spawn(Box::pin(work)) else { return true };
        Handle::try_current().map(|runtime| runtime.spawn(work)).is_ok()
    }

    /// Completes a call in the background, if it is pending.
    pub(super) fn in_background(&self, reply: Reply<()>) {
        if let Err(pending) = reply.into_ready() {
            let call = self.pending.track(pending);
            if !self.spawn(async move { _ = call.await }) {
                self.stop_without_runtime();
            }
        }
    }

    /// Returns permits to the storage: those that still count, with several keys per call. The error
    /// is that of the last call that failed; its permits are lost.
    pub(super) fn return_permits(self: &Arc<Self>, returns: Vec<Return>) -> Reply<()> {
        let batches = self.returnable(returns);
        let mut groups = grouped(batches).into_iter();
        let mut all = Ok(());
        while let Some(group) = groups.next() {
            match group.send(&*self.storage).into_ready() {
                Ok(answer) => {
                    self.finish_return(&group, answer.is_ok());
                    all = answer.and(all);
                }
                Err(pending) => {
                    let inner = Arc::clone(self);
                    return Reply::pending(async move {
                        let (mut group, mut reply) = (group, pending);
                        loop {
                            let answer = reply.await;
                            inner.finish_return(&group, answer.is_ok());
                            all = answer.and(all);
                            let Some(next) = groups.next() else { return all };
                            group = next;
                            reply = group.send(&*inner.storage);
                        }
                    });
                }
            }
        }
        Reply::ready(all)
    }

    /// Returns the batches that still count; the others are recorded as expired.
    fn returnable(&self, returns: Vec<Return>) -> Vec<ReturnedBatch> {
        let mut batches = Vec::new();
        for one in returns {
            let current = self.named(&one.plan.rule).and_then(|named| named.current());
            let plan = current.filter(|plan| plan.counts_as(&one.plan));
            let now = self.now(one.clock.as_ref());
            for batch in &one.batches {
                let counts = one.plan.outlives() || now < batch.ends;
                let item = ReturnedBatch {
                    charge: Charge::new(&one.key, &one.plan.charged, batch.left).to_owned(),
                    hash: one.hash,
                    clock: one.clock.clone(),
                    of: Arc::clone(&one.plan),
                    batch: *batch,
                };
                match &plan {
                    Some(plan) if counts => {
                        let charge = Charge::new(&one.key, &plan.charged, batch.left).to_owned();
                        batches.push(ReturnedBatch { charge, ..item });
                    }
                    _ => {
                        self.count(&self.counts.expired, batch.left);
                        self.release(&item);
                    }
                }
            }
        }
        batches
    }

    fn finish_return(&self, group: &Group, well: bool) {
        for item in &group.0 {
            let counter = if well { &self.counts.returned } else { &self.counts.expired };
            self.count(counter, item.batch.left);
            self.release(item);
        }
    }

    /// Subtracts returned permits from the permits that the lease counts as held.
    fn release(&self, item: &ReturnedBatch) {
        let mut shard = self.table.lock(item.hash);
        if let Some(of_key) = shard.find(item.hash, item.charge.borrow().key())
            && let Some(lease) = of_key.of(&item.of.rule, item.clock.as_ref())
        {
            lease.returned(item.batch.left);
        }
    }
}

/// A batch to return.
struct ReturnedBatch {
    charge: OwnedCharge,
    hash: u64,
    clock: Option<Arc<dyn Clock>>,
    of: Arc<Plan>,
    batch: Batch,
}

/// The batches returned in one call, at most one per key and rule.
struct Group(Vec<ReturnedBatch>);

impl Group {
    fn send(&self, storage: &dyn AtomicStorage) -> Reply<()> {
        let refunds: SmallVec<[_; 4]> = self
            .0
            .iter()
            .map(|item| Refund::new(item.charge.borrow(), item.batch.receipt))
            .collect();
        storage.refund(&refunds, self.0.first().and_then(|item| item.clock.as_ref()))
    }

    fn accepts(&self, item: &ReturnedBatch) -> bool {
        self.0.len() < IN_ONE_CALL
            && self.0.iter().all(|one| {
                let same = one.hash == item.hash && one.of.rule.name() == item.of.rule.name();
                !same && same_clock(one.clock.as_ref(), item.clock.as_ref())
            })
    }
}

fn grouped(batches: Vec<ReturnedBatch>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for one in batches {
        match groups.last_mut() {
            Some(group) if group.accepts(&one) => group.0.push(one),
            _ => groups.push(Group(vec![one])),
        }
    }
    groups
}

impl Shard {
    /// Returns how many permits are held.
    pub(super) fn held(&mut self) -> u64 {
        let mut held = 0_u64;
        self.visit(|_, of_key| {
            held = of_key.leases.iter().fold(held, |sum, one| sum.saturating_add(one.lease.left()));
        });
        held
    }
}

/// Returns held permits when the last handle is dropped. A pending call needs a runtime. A panic of
/// the storage is caught: if this drop runs during a panic, a second one would abort the process.
impl Drop for Inner {
    fn drop(&mut self) {
        let return_permits = AssertUnwindSafe(|| self.return_all());
        if catch_unwind(return_permits).is_err() {
            tracing::error!(
                target: "ratethrottle::resilience",
                "leased permits were not returned: the storage panicked"
            );
        }
    }
}

impl Inner {
    fn return_all(&mut self) {
        let mut returns = Vec::new();
        self.table.each(|shard| {
            shard.visit(|hash, of_key| {
                of_key.invalidate(hash, None, Invalidation::Return, &mut returns);
            });
        });
        let groups = grouped(self.returnable(returns));
        let storage = Arc::clone(&self.storage);
        let runtime = Handle::try_current();
        let mut groups = groups.into_iter();
        while let Some(group) = groups.next() {
            if let Err(pending) = group.send(&*storage).into_ready() {
                if let Ok(runtime) = runtime {
                    runtime.spawn(async move {
                        let _returned = pending.await;
                        for group in groups {
                            let _returned = group.send(&*storage).await;
                        }
                    });
                }
                return;
            }
        }
    }
}

/// A guard of the maintenance task. Its drop allows another task to begin, even if the runtime
/// ended this one.
struct MaintenanceGuard(Weak<Inner>);

impl MaintenanceGuard {
    fn disarm(&mut self) {
        self.0 = Weak::new();
    }
}

impl Drop for MaintenanceGuard {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.maintaining.store(false, Relaxed);
        }
    }
}
