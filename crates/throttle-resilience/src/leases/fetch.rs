//! Fetches: calls that request a batch from the storage.

use std::{sync::Arc, time::Duration};

use throttle_core::{
    Charge, ChargeRequest, Clock, Effect, Key, Micros, Outcome, Reply, StorageError, Verdict,
};
use tokio::time::timeout;

use super::{
    lease::{BACKOFF, Batch, Lease, Short},
    pending_fetch::{Invalidation, PendingFetch},
    plan::Plan,
    state::Inner,
    table::Return,
};

/// A batch that is requested. If it is dropped before it is answered, the requested permits count
/// as lost.
pub(super) struct Fetch {
    inner: Arc<Inner>,
    key: Key<'static>,
    hash: u64,
    plan: Arc<Plan>,
    clock: Option<Arc<dyn Clock>>,
    pending_fetch: Arc<PendingFetch>,
    /// The smallest useful number of permits.
    need: u64,
    amount: u64,
    /// The time when it was requested, not after it was granted.
    sent: Micros,
    tried: u8,
    /// Set if the storage had less than requested: requests beyond the granted part are then
    /// rejected for a moment.
    short: Option<Short>,
    answered: bool,
}

/// The next step after an answer.
enum Next {
    /// Request again, with a smaller amount.
    Retry,
    /// Return a batch that was granted after its lease had ended.
    Return(Return),
    Done,
}

/// The longest wait for returned permits before a batch is requested: requests wait in the
/// meantime.
const RETURN_TIMEOUT: Duration = Duration::from_millis(100);
/// The number of retries with a smaller amount, if the storage has too little.
const RETRIES: u8 = 2;
/// The longest time for which a partial batch counts as all that the storage has.
const MAX_PARTIAL_WAIT: Micros = Micros::new(100_000);

impl Fetch {
    /// Prepares to request `amount`, and records it in the lease. Recording it under the lease's lock keeps the
    /// sum of held and requested permits within the budget.
    pub(super) fn ahead(
        inner: &Arc<Inner>,
        key: &Key<'_>,
        hash: u64,
        lease: &mut Lease,
        clock: Option<&Arc<dyn Clock>>,
        amount: u64,
        now: Micros,
    ) -> Self {
        let pending_fetch = Arc::new(PendingFetch::new());
        lease.ask(amount, Arc::clone(&pending_fetch));
        Self {
            inner: Arc::clone(inner),
            key: key.clone().into_owned(),
            hash,
            plan: Arc::clone(&lease.plan),
            clock: clock.cloned(),
            pending_fetch,
            need: 1,
            amount,
            sent: now,
            tried: 0,
            short: None,
            answered: false,
        }
    }

    /// Sets the smallest useful number of permits.
    pub(super) fn for_need(mut self, need: u64) -> Self {
        self.need = need.max(1);
        self
    }

    /// Requests the batch, after `before` is returned; in the background unless the storage answers
    /// immediately. Returns the fetch to wait for, if it is pending.
    pub(super) fn run(mut self, before: Vec<Return>) -> Option<Arc<PendingFetch>> {
        let pending_fetch = Arc::clone(&self.pending_fetch);
        if let Err(before) = self.inner.return_permits(before).into_ready() {
            return self.in_background(Some(before), None).then_some(pending_fetch);
        }
        loop {
            let answer = match self.call().into_ready() {
                Ok(answer) => answer,
                Err(pending) => {
                    return self.in_background(None, Some(pending)).then_some(pending_fetch);
                }
            };
            match self.handle_answer(answer) {
                Next::Retry => {}
                Next::Return(late) => {
                    self.inner.return_in_background(vec![late]);
                    return None;
                }
                Next::Done => return None,
            }
        }
    }

    fn in_background(self, before: Option<Reply<()>>, first: Option<Reply<Outcome>>) -> bool {
        let inner = Arc::clone(&self.inner);
        let is_spawned = inner.spawn(inner.pending.track(async move {
            let mut fetch = self;
            if let Some(before) = before {
                // A separate task, so that it continues after the timeout.
                let returned = tokio::spawn(before);
                let _in_time = timeout(RETURN_TIMEOUT, returned).await;
            }
            let mut reply = match first {
                Some(reply) => reply,
                None => fetch.call(),
            };
            loop {
                let answer = reply.await;
                match fetch.handle_answer(answer) {
                    Next::Retry => reply = fetch.call(),
                    Next::Return(late) => {
                        let _returned = fetch.inner.return_permits(vec![late]).await;
                        return;
                    }
                    Next::Done => return,
                }
            }
        }));
        if !is_spawned {
            inner.stop_without_runtime();
        }
        is_spawned
    }

    fn call(&mut self) -> Reply<Outcome> {
        self.tried += 1;
        self.sent = self.inner.now(self.clock.as_ref());
        self.inner.count(&self.inner.counts.fetched, 1);
        let charge = [Charge::new(&self.key, &self.plan.charged, self.amount)];
        self.inner.storage.acquire(&ChargeRequest::new(&charge, self.clock.as_ref()))
    }

    fn handle_answer(&mut self, answer: Result<Outcome, StorageError>) -> Next {
        let answer = answer.and_then(|outcome| match outcome.verdicts() {
            [verdict] => Ok((*verdict, outcome.at())),
            _ => Err(StorageError::other("the storage did not answer for every rule")),
        });
        match answer {
            Ok((verdict, at)) if verdict.allowed => self.granted(&verdict, at),
            Ok((verdict, at)) => self.denied(&verdict, at),
            Err(error) => {
                self.failed(&error);
                Next::Done
            }
        }
    }

    fn granted(&mut self, verdict: &Verdict, at: Micros) -> Next {
        let now = self.inner.now(self.clock.as_ref());
        self.inner.count(&self.inner.counts.taken, self.amount);
        let (until, ends) = self.plan.until(verdict, self.sent, self.clock.is_some());
        let (receipt, taken) = (verdict.receipt, self.amount);
        let batch = Batch { receipt, taken, left: taken, until, ends };
        let pending_fetch = Arc::clone(&self.pending_fetch);
        let held = self.with_lease(|lease| {
            lease.record_verdict(verdict, at, now);
            lease.deposit(batch);
            match self.short {
                Some(short) => lease.record_partial(1, short, MAX_PARTIAL_WAIT, self.sent),
                None if self.tried == 1 => lease.record_full(verdict.remaining),
                None => {}
            }
            lease.answered();
        });
        self.answered = true;
        if held {
            pending_fetch.complete();
            return Next::Done;
        }
        if pending_fetch.invalidation() == Invalidation::Discard {
            self.inner.count(&self.inner.counts.expired, taken);
            return Next::Done;
        }
        Next::Return(Return {
            key: self.key.clone(),
            hash: self.hash,
            plan: Arc::clone(&self.plan),
            clock: self.clock.clone(),
            batches: [batch].into_iter().collect(),
        })
    }

    fn denied(&mut self, verdict: &Verdict, at: Micros) -> Next {
        let now = self.inner.now(self.clock.as_ref());
        let room = verdict.remaining;
        let less = self.need.max(room / 2).min(self.amount);
        if room >= self.need && self.tried <= RETRIES && less < self.amount {
            // Ask for half of the rest, so that other instances get some too.
            self.short = self.short.or_else(|| self.fast(verdict));
            self.amount = less;
            if self.with_lease(|lease| lease.ask_less(less)) {
                return Next::Retry;
            }
        }
        let whole = verdict.retry_after.filter(|_| room < self.need);
        self.with_lease(|lease| {
            lease.record_verdict(verdict, at, now);
            match (whole, self.short) {
                (Some(whole), _) => lease.record_denial(self.need, whole, self.sent),
                (None, Some(short)) => {
                    lease.record_partial(self.need, short, MAX_PARTIAL_WAIT, self.sent)
                }
                (None, None) => lease.back_off(now),
            }
            lease.answered();
        });
        self.answered = true;
        Next::Done
    }

    /// Describes a shortage, if permits are freed so fast that following each denial closely would
    /// make a call for every few permits. Otherwise retries with half the amount soon get the rest.
    fn fast(&self, verdict: &Verdict) -> Option<Short> {
        let (whole, room) = (verdict.retry_after?, verdict.remaining);
        let short = u128::from(self.amount.saturating_sub(room));
        let is_fast = 2 * u128::from(whole.get()) <= short * u128::from(BACKOFF.get());
        // If no other instance takes permits, half of a batch is free after half of the time;
        // clearly less means that others took some.
        let others_took = u128::from(room) * 5 < u128::from(self.amount) * 2;
        is_fast.then_some(Short { whole, others_took })
    }

    fn failed(&mut self, error: &StorageError) {
        self.pending_fetch.fail(error);
        self.abandon(error.effect() == Effect::Unknown);
    }

    /// Pauses fetching for a moment. If the effect of the call is unknown, its permits count as
    /// held until they could no longer matter.
    fn abandon(&mut self, unknown: bool) {
        let now = self.inner.now(self.clock.as_ref());
        let (amount, until) = (self.amount, self.plan.longest(self.sent));
        if unknown {
            self.inner.count(&self.inner.counts.expired, amount);
        }
        self.with_lease(|lease| {
            if unknown {
                lease.lose(amount, until);
            }
            lease.back_off(now);
            lease.answered();
        });
        self.answered = true;
    }

    /// Calls `work` with the lease that started this fetch, if it has not ended.
    fn with_lease(&self, work: impl FnOnce(&mut Lease)) -> bool {
        let mut shard = self.inner.table.lock(self.hash);
        let of_key = shard.find(self.hash, &self.key);
        let lease = of_key.and_then(|of_key| of_key.behind(&self.pending_fetch));
        lease.map(work).is_some()
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if !self.answered {
            self.pending_fetch.fail(&StorageError::other("the call for a batch was dropped"));
            self.abandon(self.tried > 0);
        }
        self.pending_fetch.complete();
    }
}
