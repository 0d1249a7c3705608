//! How a request is decided: from leases, after waiting for a batch, or by the storage.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{Charge, ChargeRequest, Key, Micros, Outcome, Reply, StorageError, Verdict};

use super::{
    fetch::Fetch,
    pending_fetch::PendingFetch,
    plan::{Plan, Plans},
    state::Inner,
    table::Shard,
    taken::{Part, Taken},
};
use crate::{deadline::in_time, keyed::only_key};

type PendingFetches = SmallVec<[Arc<PendingFetch>; 2]>;

impl Inner {
    /// Decides a request without calling the storage, if it can: all of its rules hold enough
    /// permits, or its only rule is known to be used up in the storage.
    #[inline]
    pub(super) fn from_lease(self: &Arc<Self>, request: &ChargeRequest<'_>) -> Option<Outcome> {
        let key = only_key(request)?;
        let now = self.now(request.clock());
        let hash = self.table.hash(key);
        let mut fetches = SmallVec::<[Fetch; 2]>::new();
        let outcome = {
            let mut shard = self.table.lock(hash);
            let of_key = shard.find(hash, key)?;
            for charge in request.charges() {
                let lease = of_key.of(charge.rule(), request.clock())?;
                lease.advance(now);
                if lease.left() < charge.cost() {
                    let (verdict, at) = lease.rejection(charge.cost(), now)?;
                    if request.charges().len() > 1 {
                        return None; // the storage must report the other rules' state too
                    }
                    lease.record_demand(charge.cost(), now);
                    shard.rejected += 1;
                    return Some(Outcome::one(verdict, at));
                }
            }
            let mut at = Micros::ZERO;
            let mut spent = 0_u64;
            let mut spend = |charge: &Charge<'_>| {
                let lease = of_key.of(charge.rule(), request.clock());
                let Some(lease) = lease else { return Verdict::default() }; // found above
                lease.record_demand(charge.cost(), now);
                let receipt = lease.spend(charge.cost());
                spent = spent.saturating_add(charge.cost());
                let (verdict, by) = lease.verdict(receipt, now);
                at = at.max(by);
                if let Some(amount) = lease.ahead(now, self.most(&lease.plan)) {
                    fetches.push(Fetch::ahead(
                        self,
                        key,
                        hash,
                        lease,
                        request.clock(),
                        amount,
                        now,
                    ));
                }
                verdict
            };
            let outcome = match request.charges() {
                [charge] => {
                    let verdict = spend(charge);
                    Outcome::one(verdict, at)
                }
                charges => {
                    let verdicts: SmallVec<[Verdict; 4]> = charges.iter().map(spend).collect();
                    Outcome::new(verdicts, at)
                }
            };
            shard.allowed += 1;
            shard.spent = shard.spent.saturating_add(spent);
            outcome
        };
        for fetch in fetches {
            fetch.run(Vec::new());
        }
        Some(outcome)
    }

    /// Decides a request that the leases cannot decide. If the key is hot, it requests a batch and
    /// waits for it; the storage decides charges that the batch does not cover.
    pub(super) fn acquire(self: &Arc<Self>, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.instances.discover_from(&self.storage);
        let plans: Plans =
            request.charges().iter().map(|charge| self.plan(charge.rule())).collect();
        let Some(key) = only_key(request) else {
            return self.storage.acquire(&translated(request, &plans, |_| 0).borrow(request));
        };
        let hash = self.table.hash(key);
        let pending_fetches = self.fetch_for(request, key, hash, &plans);
        if pending_fetches.is_empty() {
            return self.decide(request, key, hash, &plans, &pending_fetches);
        }
        self.count(&self.counts.waited, 1);
        let (inner, owned) = (Arc::clone(self), request.to_owned());
        let decided = Reply::pending(async move {
            for pending_fetch in &pending_fetches {
                pending_fetch.wait().await;
            }
            let reply = owned.with(|request| match only_key(request) {
                Some(key) => inner.decide(request, key, hash, &plans, &pending_fetches),
                None => Reply::ready(Err(StorageError::not_carried_out("the request has no key"))),
            });
            reply.await
        });
        match self.deadline {
            Some(deadline) => in_time(decided, deadline),
            None => decided,
        }
    }

    /// Requests the batches that a request needs, and returns all fetches to wait for.
    ///
    /// If a fetch of the lease is in flight already, the request waits for that one: a lease
    /// never has two at a time.
    fn fetch_for(
        self: &Arc<Self>,
        request: &ChargeRequest<'_>,
        key: &Key<'_>,
        hash: u64,
        plans: &Plans,
    ) -> PendingFetches {
        let mut pending_fetches = PendingFetches::new();
        let leased = |plan: &Option<Arc<Plan>>| plan.as_ref().is_some_and(|plan| plan.is_leased());
        if self.has_ended() || !plans.iter().any(leased) {
            return pending_fetches;
        }
        let (clock, now) = (request.clock(), self.now(request.clock()));
        let mut fetches = SmallVec::<[Fetch; 2]>::new();
        let mut returns = Vec::new();
        {
            let mut shard = self.table.lock(hash);
            let known = shard.find(hash, key).is_some();
            let seen = if known { u64::MAX } else { self.count_min.count(hash, now) };
            for (charge, plan) in request.charges().iter().zip(plans) {
                let Some(plan) = plan.as_ref().filter(|plan| plan.is_leased()) else { continue };
                let most = self.most(plan);
                if most < 2 || seen < plan.hot_threshold() {
                    continue;
                }
                let Some(of_key) = shard.entry(hash, key) else { continue };
                let lease = of_key.of_plan(plan, clock, now);
                lease.advance(now);
                lease.record_demand(charge.cost(), now);
                if lease.left() >= charge.cost() {
                    continue;
                }
                if let Some(pending_fetch) = &lease.fetching {
                    pending_fetches.push(Arc::clone(pending_fetch));
                } else if let Some(amount) = lease.needed(charge.cost(), now, most) {
                    let need = charge.cost() - lease.left();
                    let fetch = Fetch::ahead(self, key, hash, lease, clock, amount, now);
                    fetches.push(fetch.for_need(need));
                }
                of_key.returns(hash, &mut returns);
            }
        }
        self.start_maintenance();
        match fetches.pop() {
            None => self.return_in_background(returns),
            Some(last) => {
                // Return the permits of other leases of the key first: the batch may need them.
                pending_fetches.extend(last.run(returns));
                pending_fetches
                    .extend(fetches.into_iter().filter_map(|fetch| fetch.run(Vec::new())));
            }
        }
        pending_fetches
    }

    /// Spends held permits if there are enough, and makes the other charges in the storage: all or
    /// nothing.
    fn decide(
        self: &Arc<Self>,
        request: &ChargeRequest<'_>,
        key: &Key<'_>,
        hash: u64,
        plans: &Plans,
        pending_fetches: &PendingFetches,
    ) -> Reply<Outcome> {
        let now = self.now(request.clock());
        let mut taken = Taken { inner: Arc::clone(self), hash, parts: SmallVec::new() };
        let mut known = false;
        {
            let mut shard = self.table.lock(hash);
            if let Some(of_key) = shard.find(hash, key) {
                known = true;
                for (index, charge) in request.charges().iter().enumerate() {
                    let lease = of_key.of(charge.rule(), request.clock());
                    let Some(lease) = lease else { continue };
                    lease.advance(now);
                    if lease.left() < charge.cost()
                        && let ([_], Some((verdict, at))) =
                            (request.charges(), lease.rejection(charge.cost(), now))
                    {
                        shard.rejected += 1; // the batch was denied
                        return Reply::ready(Ok(Outcome::one(verdict, at)));
                    }
                    let cost = lease.part_of(charge.cost());
                    if cost > 0 {
                        taken.parts.push(Part {
                            index,
                            charge: Charge::new(charge.key(), charge.rule(), cost).to_owned(),
                            receipt: lease.spend(cost),
                            clock: request.clock().cloned(),
                        });
                    }
                }
            }
            let mut charges = request.charges().iter().enumerate();
            if known && charges.all(|(index, charge)| taken.cost(index) == charge.cost()) {
                let outcome = join_verdicts(&mut shard, key, hash, request, &taken, None, now);
                shard.allowed += 1;
                taken.parts.clear();
                return Reply::ready(Ok(outcome));
            }
        }
        if let Some(error) =
            pending_fetches.iter().find_map(|pending_fetch| pending_fetch.failure())
        {
            return Reply::ready(Err(error)); // `taken` is put back on drop
        }
        let asked = translated(request, plans, |index| taken.cost(index));
        let reply = self.storage.acquire(&asked.borrow(request));
        drop(asked);
        if !known {
            return reply;
        }
        reply.then_with(self, request, move |inner, request, answer| {
            Reply::ready(inner.join_with_leases(request, taken, answer))
        })
    }

    /// Joins the storage's answer with the permits taken from leases. They are put back unless all
    /// rules allow the request.
    fn join_with_leases(
        &self,
        request: &ChargeRequest<'_>,
        mut taken: Taken,
        answer: Result<Outcome, StorageError>,
    ) -> Result<Outcome, StorageError> {
        let Some(key) = only_key(request) else { return answer };
        let outcome = answer?; // `taken` is put back on drop
        let now = self.now(request.clock());
        if !outcome.is_allowed() {
            taken.put_back();
        }
        let mut shard = self.table.lock(taken.hash);
        let hash = taken.hash;
        let joined = join_verdicts(&mut shard, key, hash, request, &taken, Some(&outcome), now);
        drop(shard);
        taken.parts.clear();
        Ok(joined)
    }

    /// Peeks at the storage, and adds the permits held locally.
    pub(super) fn peek(self: &Arc<Self>, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        let plans: Plans =
            request.charges().iter().map(|charge| self.plan(charge.rule())).collect();
        let reply = self.storage.peek(&translated(request, &plans, |_| 0).borrow(request));
        reply.then_with(self, request, |inner, request, answer| {
            Reply::ready(answer.map(|outcome| inner.with_leases(request, outcome)))
        })
    }

    fn with_leases(&self, request: &ChargeRequest<'_>, outcome: Outcome) -> Outcome {
        let now = self.now(request.clock());
        let held = |charge: &Charge<'_>| {
            let hash = self.table.hash(charge.key());
            let mut shard = self.table.lock(hash);
            let lease = shard.find(hash, charge.key())?.of(charge.rule(), request.clock())?;
            lease.advance(now);
            Some(lease.left())
        };
        let held: SmallVec<[u64; 2]> =
            request.charges().iter().map(|charge| held(charge).unwrap_or(0)).collect();
        if held.iter().all(|held| *held == 0) || held.len() != outcome.verdicts().len() {
            return outcome;
        }
        let charges = request.charges().iter().zip(outcome.verdicts()).zip(held);
        let verdicts = charges.map(|((charge, verdict), held)| with_held(charge, verdict, held));
        Outcome::new(verdicts, outcome.at())
    }
}

/// Joins the verdicts in the order of the charges.
fn join_verdicts(
    shard: &mut Shard,
    key: &Key<'_>,
    hash: u64,
    request: &ChargeRequest<'_>,
    taken: &Taken,
    outcome: Option<&Outcome>,
    now: Micros,
) -> Outcome {
    let mut answers = outcome.map_or(&[][..], Outcome::verdicts).iter();
    let allowed = outcome.is_none_or(Outcome::is_allowed);
    let mut at = outcome.map_or(Micros::ZERO, Outcome::at);
    let mut verdicts = SmallVec::<[Verdict; 2]>::new();
    let mut spent = 0_u64;
    let mut of_key = shard.find(hash, key);
    for (index, charge) in request.charges().iter().enumerate() {
        let lease = of_key.as_mut().and_then(|of_key| of_key.of(charge.rule(), request.clock()));
        let part = taken.part(index);
        let whole = part.filter(|part| part.cost() == charge.cost());
        verdicts.push(match (whole, lease) {
            (Some(part), Some(lease)) => {
                let (verdict, by) = lease.verdict(part.receipt.filter(|_| allowed), now);
                at = at.max(by);
                if allowed {
                    spent = spent.saturating_add(charge.cost());
                }
                verdict
            }
            // The lease has ended in the meantime.
            (Some(part), None) => {
                let receipt = part.receipt.filter(|_| allowed);
                Verdict { allowed: true, receipt, ..Verdict::default() }
            }
            (None, lease) => {
                let Some(answer) = answers.next() else { continue };
                let mut answer = *answer;
                if let Some(part) = part.filter(|_| allowed) {
                    answer.receipt = part.receipt; // the oldest receipt, as for a charge that the stock covers
                    spent = spent.saturating_add(part.cost());
                }
                lease.map_or(answer, |lease| {
                    lease.record_verdict(&answer, at, now);
                    if !answer.allowed {
                        lease.back_off(now);
                    }
                    let remaining = answer.remaining.saturating_add(lease.left());
                    Verdict { remaining: remaining.min(charge.rule().capacity()), ..answer }
                })
            }
        });
    }
    shard.spent = shard.spent.saturating_add(spent);
    match (&verdicts[..], request.charges()) {
        ([verdict], [_]) => Outcome::one(*verdict, at),
        _ => Outcome::new(verdicts, at),
    }
}

/// Adds the permits held locally to a verdict of the storage.
fn with_held(charge: &Charge<'_>, verdict: &Verdict, held: u64) -> Verdict {
    let remaining = verdict.remaining.saturating_add(held).min(charge.rule().capacity());
    let allowed = verdict.allowed || charge.cost() <= remaining && !verdict.blocked;
    let retry_after = verdict.retry_after.filter(|_| !allowed);
    Verdict { allowed, remaining, retry_after, ..*verdict }
}

/// The charges of a request under the rules that are charged in the storage.
struct Translated<'a> {
    charges: SmallVec<[Charge<'a>; 2]>,
}

fn translated<'a>(
    request: &ChargeRequest<'a>,
    plans: &'a Plans,
    taken: impl Fn(usize) -> u64,
) -> Translated<'a> {
    let charges = request.charges().iter().zip(plans).enumerate();
    let charges = charges.filter_map(|(index, (charge, plan))| {
        let rule = plan.as_ref().map_or(charge.rule(), |plan| &plan.charged);
        let cost = charge.cost() - taken(index);
        (cost > 0).then(|| Charge::new(charge.key(), rule, cost))
    });
    Translated { charges: charges.collect() }
}

impl Translated<'_> {
    fn borrow<'s>(&'s self, request: &ChargeRequest<'s>) -> ChargeRequest<'s> {
        ChargeRequest::new(&self.charges, request.clock())
    }
}
