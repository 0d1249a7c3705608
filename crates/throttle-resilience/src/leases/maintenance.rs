//! Giving back what is not spent.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use smallvec::SmallVec;
use throttle_core::{AtomicStorage, Charge, Clock, OwnedCharge, Refund, Reply};
use tokio::runtime::Handle;

use super::{
    lease::Batch,
    pending_fetch::Voided,
    plan::Plan,
    state::Inner,
    table::{Return, Shard},
};
use crate::keyed::same_clock;

/// Leases are looked at this often.
const EVERY: Duration = Duration::from_millis(100);
/// So many keys are given back in one call.
const IN_ONE_CALL: usize = 32;

impl Inner {
    /// Looks after the leases in the background, as long as there are some.
    pub(super) fn keep_tidy(self: &Arc<Self>) {
        if self.tidying.load(Relaxed) || self.tidying.swap(true, Relaxed) {
            return;
        }
        let mut tidying = Tidying(Arc::downgrade(self));
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(EVERY).await;
                let Some(inner) = tidying.0.upgrade() else { return };
                let _given_back = inner.give_back(inner.collect()).await;
                if inner.table.is_empty() {
                    inner.tidying.store(false, Relaxed);
                    // One that came meanwhile saw that there was somebody who looks after it.
                    if inner.table.is_empty() || inner.tidying.swap(true, Relaxed) {
                        tidying.another_does();
                        return;
                    }
                }
            }
        });
    }

    /// Ends what is cold, trims what is too much, and returns what is to be given back.
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

    pub(super) async fn flush(self: &Arc<Self>) {
        let mut returns = Vec::new();
        let mut gates = Vec::new();
        self.table.each(|shard| {
            shard.visit(|hash, of_key| {
                gates.extend(of_key.void(hash, None, Voided::GiveBack, &mut returns));
            });
        });
        let _given_back = self.give_back(returns).await;
        for gate in gates {
            gate.wait().await; // what comes yet is given back before it opens
        }
    }

    pub(super) async fn close(self: &Arc<Self>) {
        self.ended.store(true, Relaxed);
        self.flush().await;
    }

    pub(super) fn end_without_runtime(&self) {
        if !self.ended.swap(true, Relaxed) {
            tracing::error!(
                "nothing is leased, each request asks the storage: leases take a tokio runtime"
            );
        }
    }

    pub(super) fn give_back_in_background(self: &Arc<Self>, returns: Vec<Return>) {
        let reply = self.give_back(returns);
        self.in_background(reply);
    }

    /// Waits for a call in the background, unless it is answered.
    pub(super) fn in_background(&self, reply: Reply<()>) {
        if let Err(pending) = reply.into_ready() {
            match Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(pending)),
                Err(_) => self.end_without_runtime(),
            }
        }
    }

    /// Gives permits back: those that still count, several keys in one call.
    pub(super) fn give_back(self: &Arc<Self>, returns: Vec<Return>) -> Reply<()> {
        let owed = self.sorted(returns);
        let mut groups = grouped(owed).into_iter();
        while let Some(group) = groups.next() {
            match group.send(&*self.storage).into_ready() {
                Ok(answer) => self.gave_back(&group, answer.is_ok()),
                Err(pending) => {
                    let inner = Arc::clone(self);
                    return Reply::pending(async move {
                        let (mut group, mut reply) = (group, pending);
                        loop {
                            let answer = reply.await;
                            inner.gave_back(&group, answer.is_ok());
                            let Some(next) = groups.next() else { return Ok(()) };
                            group = next;
                            reply = group.send(&*inner.storage);
                        }
                    });
                }
            }
        }
        Reply::ready(Ok(()))
    }

    /// Returns what still counts, each batch by itself.
    fn sorted(&self, returns: Vec<Return>) -> Vec<Owed> {
        let mut owed = Vec::new();
        for one in returns {
            let current = self.named(&one.plan.rule).and_then(|named| named.current());
            let plan = current.filter(|plan| plan.counts_as(&one.plan));
            let now = self.now(one.clock.as_ref());
            for batch in &one.batches {
                let counts = one.plan.outlives() || now < batch.ends;
                let item = Owed {
                    charge: Charge::new(&one.key, &one.plan.charged, batch.left).to_owned(),
                    hash: one.hash,
                    clock: one.clock.clone(),
                    of: Arc::clone(&one.plan),
                    batch: *batch,
                };
                match &plan {
                    Some(plan) if counts => {
                        let charge = Charge::new(&one.key, &plan.charged, batch.left).to_owned();
                        owed.push(Owed { charge, ..item });
                    }
                    _ => {
                        self.count(&self.counts.expired, batch.left);
                        self.done(&item);
                    }
                }
            }
        }
        owed
    }

    fn gave_back(&self, group: &Group, well: bool) {
        for owed in &group.0 {
            let counter = if well { &self.counts.given_back } else { &self.counts.expired };
            self.count(counter, owed.batch.left);
            self.done(owed);
        }
    }

    /// Takes note that permits are held no longer.
    fn done(&self, owed: &Owed) {
        let mut shard = self.table.lock(owed.hash);
        if let Some(of_key) = shard.find(owed.hash, owed.charge.borrow().key())
            && let Some(lease) = of_key.of(&owed.of.rule, owed.clock.as_ref())
        {
            lease.returned(owed.batch.left);
        }
    }
}

/// A batch that is to be given back.
struct Owed {
    charge: OwnedCharge,
    hash: u64,
    clock: Option<Arc<dyn Clock>>,
    of: Arc<Plan>,
    batch: Batch,
}

/// What is given back in one call: of no key twice.
struct Group(Vec<Owed>);

impl Group {
    fn send(&self, storage: &dyn AtomicStorage) -> Reply<()> {
        let refunds: SmallVec<[_; 4]> = self
            .0
            .iter()
            .map(|owed| Refund::new(owed.charge.borrow(), owed.batch.receipt))
            .collect();
        storage.refund(&refunds, self.0.first().and_then(|owed| owed.clock.as_ref()))
    }

    fn takes(&self, owed: &Owed) -> bool {
        self.0.len() < IN_ONE_CALL
            && self.0.iter().all(|one| {
                let same = one.hash == owed.hash && one.of.rule.name() == owed.of.rule.name();
                !same && same_clock(one.clock.as_ref(), owed.clock.as_ref())
            })
    }
}

fn grouped(owed: Vec<Owed>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for one in owed {
        match groups.last_mut() {
            Some(group) if group.takes(&one) => group.0.push(one),
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

/// Gives back what is held when the last handle goes, as far as there is a runtime for it. A storage that
/// panics does not end the process, where a panic is why the handle goes.
impl Drop for Inner {
    fn drop(&mut self) {
        let give_back = AssertUnwindSafe(|| self.give_all_back());
        if catch_unwind(give_back).is_err() {
            tracing::error!("permits were not given back: that panicked");
        }
    }
}

impl Inner {
    fn give_all_back(&mut self) {
        let mut returns = Vec::new();
        self.table.each(|shard| {
            shard.visit(|hash, of_key| {
                of_key.void(hash, None, Voided::GiveBack, &mut returns);
            });
        });
        let groups = grouped(self.sorted(returns));
        let storage = Arc::clone(&self.storage);
        let runtime = Handle::try_current();
        let mut groups = groups.into_iter();
        while let Some(group) = groups.next() {
            if let Err(pending) = group.send(&*storage).into_ready() {
                if let Ok(runtime) = runtime {
                    runtime.spawn(async move {
                        let _given_back = pending.await;
                        for group in groups {
                            let _given_back = group.send(&*storage).await;
                        }
                    });
                }
                return;
            }
        }
    }
}

/// Says that leases are looked after, until it is dropped: also when the runtime ends the task.
struct Tidying(Weak<Inner>);

impl Tidying {
    fn another_does(&mut self) {
        self.0 = Weak::new();
    }
}

impl Drop for Tidying {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.tidying.store(false, Relaxed);
        }
    }
}
