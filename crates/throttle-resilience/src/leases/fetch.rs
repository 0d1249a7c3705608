//! Asking the storage for a batch.

use std::{sync::Arc, time::Duration};

use throttle_core::{
    Charge, ChargeRequest, Clock, Effect, Key, Micros, Outcome, Reply, StorageError, Verdict,
};
use tokio::{runtime::Handle, time::timeout};

use super::{
    lease::{Batch, Lease, REST, Short},
    pending_fetch::{Gate, Voided},
    plan::Plan,
    state::Inner,
    table::Return,
};

/// A batch that is asked for. When it is dropped before it is answered, what it asked for is lost.
pub(super) struct Fetch {
    inner: Arc<Inner>,
    key: Key<'static>,
    hash: u64,
    plan: Arc<Plan>,
    clock: Option<Arc<dyn Clock>>,
    gate: Arc<Gate>,
    /// The least that is of use.
    need: u64,
    amount: u64,
    /// When it is asked for, no later than it is granted.
    sent: Micros,
    tried: u8,
    /// That a part of what was asked for is taken for all that there is, for a moment.
    short: Option<Short>,
    answered: bool,
}

/// What is to be done when an answer was taken in.
enum Then {
    /// Ask again, for less.
    Again,
    /// Give back what came after its lease had ended.
    GiveBack(Return),
    Nothing,
}

/// So long is waited for what is given back first: requests wait meanwhile.
const FIRST: Duration = Duration::from_millis(100);
/// So often is asked for less, when the storage has not got so much.
const TRIES: u8 = 2;
/// So long at most a part of what was asked for is taken for all that there is.
const PAUSE: Micros = Micros::new(100_000);

impl Fetch {
    /// Prepares to ask for `amount`, which the lease takes note of.
    pub(super) fn ahead(
        inner: &Arc<Inner>,
        key: &Key<'_>,
        hash: u64,
        lease: &mut Lease,
        clock: Option<&Arc<dyn Clock>>,
        amount: u64,
        now: Micros,
    ) -> Self {
        let gate = Arc::new(Gate::new());
        lease.ask(amount, Arc::clone(&gate));
        Self {
            inner: Arc::clone(inner),
            key: key.clone().into_owned(),
            hash,
            plan: Arc::clone(&lease.plan),
            clock: clock.cloned(),
            gate,
            need: 1,
            amount,
            sent: now,
            tried: 0,
            short: None,
            answered: false,
        }
    }

    /// Says how much is needed at least.
    pub(super) fn for_need(mut self, need: u64) -> Self {
        self.need = need.max(1);
        self
    }

    /// Asks for it, after something was given back; in the background unless the storage answers at
    /// once. Returns what to wait at.
    pub(super) fn run(mut self, before: Vec<Return>) -> Option<Arc<Gate>> {
        let gate = Arc::clone(&self.gate);
        if let Err(before) = self.inner.give_back(before).into_ready() {
            return self.in_background(Some(before), None).then_some(gate);
        }
        loop {
            let answer = match self.call().into_ready() {
                Ok(answer) => answer,
                Err(pending) => return self.in_background(None, Some(pending)).then_some(gate),
            };
            match self.take_in(answer) {
                Then::Again => {}
                Then::GiveBack(late) => {
                    self.inner.give_back_in_background(vec![late]);
                    return None;
                }
                Then::Nothing => return None,
            }
        }
    }

    fn in_background(self, before: Option<Reply<()>>, first: Option<Reply<Outcome>>) -> bool {
        let Ok(runtime) = Handle::try_current() else {
            self.inner.end_without_runtime();
            return false;
        };
        runtime.spawn(async move {
            let mut fetch = self;
            if let Some(before) = before {
                // It goes on by itself if it takes longer.
                let given_back = tokio::spawn(before);
                let _in_time = timeout(FIRST, given_back).await;
            }
            let mut reply = match first {
                Some(reply) => reply,
                None => fetch.call(),
            };
            loop {
                let answer = reply.await;
                match fetch.take_in(answer) {
                    Then::Again => reply = fetch.call(),
                    Then::GiveBack(late) => {
                        let _given_back = fetch.inner.give_back(vec![late]).await;
                        return;
                    }
                    Then::Nothing => return,
                }
            }
        });
        true
    }

    fn call(&mut self) -> Reply<Outcome> {
        self.tried += 1;
        self.sent = self.inner.now(self.clock.as_ref());
        self.inner.count(&self.inner.counts.fetched, 1);
        let charge = [Charge::new(&self.key, &self.plan.charged, self.amount)];
        self.inner.storage.acquire(&ChargeRequest::new(&charge, self.clock.as_ref()))
    }

    fn take_in(&mut self, answer: Result<Outcome, StorageError>) -> Then {
        let answer = answer.and_then(|outcome| match outcome.verdicts() {
            [verdict] => Ok((*verdict, outcome.at())),
            _ => Err(StorageError::other("it did not answer for every rule")),
        });
        match answer {
            Ok((verdict, at)) if verdict.allowed => self.granted(&verdict, at),
            Ok((verdict, at)) => self.denied(&verdict, at),
            Err(error) => {
                self.failed(&error);
                Then::Nothing
            }
        }
    }

    fn granted(&mut self, verdict: &Verdict, at: Micros) -> Then {
        let now = self.inner.now(self.clock.as_ref());
        self.inner.count(&self.inner.counts.taken, self.amount);
        let (until, ends) = self.plan.until(verdict, self.sent, self.clock.is_some());
        let (receipt, taken) = (verdict.receipt, self.amount);
        let batch = Batch { receipt, taken, left: taken, until, ends };
        let gate = Arc::clone(&self.gate);
        let held = self.with_lease(|lease| {
            lease.hear(verdict, at, now);
            lease.deposit(batch);
            match self.short {
                Some(short) => lease.came_short(1, short, PAUSE, self.sent),
                None if self.tried == 1 => lease.came_whole(verdict.remaining),
                None => {}
            }
            lease.answered();
        });
        self.answered = true;
        if held {
            gate.open();
            return Then::Nothing;
        }
        if gate.voided() == Voided::Forget {
            self.inner.count(&self.inner.counts.expired, taken);
            return Then::Nothing;
        }
        Then::GiveBack(Return {
            key: self.key.clone(),
            hash: self.hash,
            plan: Arc::clone(&self.plan),
            clock: self.clock.clone(),
            batches: [batch].into_iter().collect(),
        })
    }

    fn denied(&mut self, verdict: &Verdict, at: Micros) -> Then {
        let now = self.inner.now(self.clock.as_ref());
        let room = verdict.remaining;
        let less = self.need.max(room / 2).min(self.amount);
        if room >= self.need && self.tried <= TRIES && less < self.amount {
            // Half of what there is, so that other servers find something too.
            self.short = self.short.or_else(|| self.fast(verdict));
            self.amount = less;
            if self.with_lease(|lease| lease.ask_less(less)) {
                return Then::Again;
            }
        }
        let whole = verdict.retry_after.filter(|_| room < self.need);
        self.with_lease(|lease| {
            lease.hear(verdict, at, now);
            match (whole, self.short) {
                (Some(whole), _) => lease.refuse(self.need, whole, self.sent),
                (None, Some(short)) => lease.came_short(self.need, short, PAUSE, self.sent),
                (None, None) => lease.rest(now),
            }
            lease.answered();
        });
        self.answered = true;
        Then::Nothing
    }

    /// Says what there is short of, where permits come back so fast that there would be a call for every few
    /// of them. Elsewhere the rest is soon asked for, by halves.
    fn fast(&self, verdict: &Verdict) -> Option<Short> {
        let (whole, room) = (verdict.retry_after?, verdict.remaining);
        let short = u128::from(self.amount.saturating_sub(room));
        let is_fast = 2 * u128::from(whole.get()) <= short * u128::from(REST.get());
        // Alone, it finds half of a batch after half of the time.
        let others_took = u128::from(room) * 5 < u128::from(self.amount) * 2;
        is_fast.then_some(Short { whole, others_took })
    }

    fn failed(&mut self, error: &StorageError) {
        self.gate.fail(error);
        self.give_up(error.effect() == Effect::Unknown);
    }

    /// Rests for a moment; what was asked for may have been charged, if nobody knows.
    fn give_up(&mut self, unknown: bool) {
        let now = self.inner.now(self.clock.as_ref());
        let (amount, until) = (self.amount, self.plan.longest(self.sent));
        if unknown {
            self.inner.count(&self.inner.counts.expired, amount);
        }
        self.with_lease(|lease| {
            if unknown {
                lease.lose(amount, until);
            }
            lease.rest(now);
            lease.answered();
        });
        self.answered = true;
    }

    /// Works on the lease that asked, if it has not ended meanwhile.
    fn with_lease(&self, work: impl FnOnce(&mut Lease)) -> bool {
        let mut shard = self.inner.table.lock(self.hash);
        let of_key = shard.find(self.hash, &self.key);
        let lease = of_key.and_then(|of_key| of_key.behind(&self.gate));
        lease.map(work).is_some()
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        if !self.answered {
            self.gate.fail(&StorageError::other("the call was given up"));
            self.give_up(self.tried > 0);
        }
        self.gate.open();
    }
}
