//! The way of a request: from stock, after a wait for a batch, or to the storage.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{Charge, ChargeRequest, Key, Micros, Outcome, Reply, StorageError, Verdict};

use super::{
    fetch::Fetch,
    pending_fetch::Gate,
    plan::{Plan, Plans},
    state::Inner,
    table::Shard,
    taken::{Part, Taken},
};
use crate::{deadline::in_time, keyed::only_key};

type Gates = SmallVec<[Arc<Gate>; 2]>;

impl Inner {
    /// Answers a request all of whose rules have enough in stock, or one of a single rule whose storage had
    /// not enough a moment ago.
    #[inline]
    pub(super) fn from_stock(self: &Arc<Self>, request: &ChargeRequest<'_>) -> Option<Outcome> {
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
                    let (verdict, at) = lease.refusal(charge.cost(), now)?;
                    if request.charges().len() > 1 {
                        return None; // what the others say is for the storage to tell
                    }
                    lease.meet(charge.cost(), now);
                    shard.refused += 1;
                    return Some(Outcome::one(verdict, at));
                }
            }
            let mut at = Micros::ZERO;
            let mut spent = 0_u64;
            let mut spend = |charge: &Charge<'_>| {
                let lease = of_key.of(charge.rule(), request.clock());
                let Some(lease) = lease else { return Verdict::default() }; // it was there above
                lease.meet(charge.cost(), now);
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
            shard.answered += 1;
            shard.spent = shard.spent.saturating_add(spent);
            outcome
        };
        for fetch in fetches {
            fetch.run(Vec::new());
        }
        Some(outcome)
    }

    /// Answers a request for which there is not enough in stock: asks for a batch, if the key is worth
    /// it, and waits for it; what that does not serve goes to the storage.
    pub(super) fn acquire(self: &Arc<Self>, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.servers.learn_from(&self.storage);
        let plans: Plans =
            request.charges().iter().map(|charge| self.plan(charge.rule())).collect();
        let Some(key) = only_key(request) else {
            return self.storage.acquire(&translated(request, &plans, |_| 0).borrow(request));
        };
        let hash = self.table.hash(key);
        let gates = self.fetch_for(request, key, hash, &plans);
        if gates.is_empty() {
            return self.settle(request, key, hash, &plans, &gates);
        }
        self.count(&self.counts.waited, 1);
        let (inner, owned) = (Arc::clone(self), request.to_owned());
        let decided = Reply::pending(async move {
            for gate in &gates {
                gate.wait().await;
            }
            let reply = owned.with(|request| match only_key(request) {
                Some(key) => inner.settle(request, key, hash, &plans, &gates),
                None => Reply::ready(Err(StorageError::not_carried_out("a request without a key"))),
            });
            reply.await
        });
        match self.deadline {
            Some(deadline) => in_time(decided, deadline),
            None => decided,
        }
    }

    /// Asks for batches of what a request needs, and returns the gates of those that are on their way.
    fn fetch_for(
        self: &Arc<Self>,
        request: &ChargeRequest<'_>,
        key: &Key<'_>,
        hash: u64,
        plans: &Plans,
    ) -> Gates {
        let mut gates = Gates::new();
        let leased = |plan: &Option<Arc<Plan>>| plan.as_ref().is_some_and(|plan| plan.is_leased());
        if self.has_ended() || !plans.iter().any(leased) {
            return gates;
        }
        let (clock, now) = (request.clock(), self.now(request.clock()));
        let mut fetches = SmallVec::<[Fetch; 2]>::new();
        let mut returns = Vec::new();
        {
            let mut shard = self.table.lock(hash);
            let known = shard.find(hash, key).is_some();
            let seen = if known { u64::MAX } else { self.sketch.count(hash, now) };
            for (charge, plan) in request.charges().iter().zip(plans) {
                let Some(plan) = plan.as_ref().filter(|plan| plan.is_leased()) else { continue };
                let most = self.most(plan);
                if most < 2 || seen < plan.worth() {
                    continue;
                }
                let Some(of_key) = shard.place(hash, key) else { continue };
                let lease = of_key.of_plan(plan, clock, now);
                lease.advance(now);
                lease.meet(charge.cost(), now);
                if lease.left() >= charge.cost() {
                    continue;
                }
                if let Some(gate) = &lease.fetching {
                    gates.push(Arc::clone(gate));
                } else if let Some(amount) = lease.needed(charge.cost(), now, most) {
                    let need = charge.cost() - lease.left();
                    let fetch = Fetch::ahead(self, key, hash, lease, clock, amount, now);
                    fetches.push(fetch.for_need(need));
                }
                of_key.returns(hash, &mut returns);
            }
        }
        self.keep_tidy();
        match fetches.pop() {
            None => self.give_back_in_background(returns),
            Some(last) => {
                // What other leases of the key held is given back first: it may be what is needed.
                gates.extend(last.run(returns));
                gates.extend(fetches.into_iter().filter_map(|fetch| fetch.run(Vec::new())));
            }
        }
        gates
    }

    /// Takes from stock what is there, and asks the storage for the rest: all or nothing.
    fn settle(
        self: &Arc<Self>,
        request: &ChargeRequest<'_>,
        key: &Key<'_>,
        hash: u64,
        plans: &Plans,
        gates: &Gates,
    ) -> Reply<Outcome> {
        let now = self.now(request.clock());
        let mut taken = Taken { inner: Arc::clone(self), hash, parts: SmallVec::new() };
        let mut known = false;
        {
            let mut shard = self.table.lock(hash);
            if let Some(of_key) = shard.find(hash, key) {
                known = true;
                for (place, charge) in request.charges().iter().enumerate() {
                    let lease = of_key.of(charge.rule(), request.clock());
                    let Some(lease) = lease else { continue };
                    lease.advance(now);
                    if lease.left() < charge.cost()
                        && let ([_], Some((verdict, at))) =
                            (request.charges(), lease.refusal(charge.cost(), now))
                    {
                        shard.refused += 1; // what it waited for did not come
                        return Reply::ready(Ok(Outcome::one(verdict, at)));
                    }
                    let cost = lease.part_of(charge.cost());
                    if cost > 0 {
                        taken.parts.push(Part {
                            place,
                            charge: Charge::new(charge.key(), charge.rule(), cost).to_owned(),
                            receipt: lease.spend(cost),
                            clock: request.clock().cloned(),
                        });
                    }
                }
            }
            let mut charges = request.charges().iter().enumerate();
            if known && charges.all(|(place, charge)| taken.cost(place) == charge.cost()) {
                let outcome = concluded(&mut shard, key, hash, request, &taken, None, now);
                shard.answered += 1;
                taken.parts.clear();
                return Reply::ready(Ok(outcome));
            }
        }
        if let Some(error) = gates.iter().find_map(|gate| gate.failure()) {
            return Reply::ready(Err(error)); // what was taken is put back
        }
        let asked = translated(request, plans, |place| taken.cost(place));
        let reply = self.storage.acquire(&asked.borrow(request));
        drop(asked);
        if !known {
            return reply;
        }
        reply.then_with(self, request, move |inner, request, answer| {
            Reply::ready(inner.conclude(request, taken, answer))
        })
    }

    /// Puts together what the storage said and what was taken from stock, which is put back unless all
    /// admit.
    fn conclude(
        &self,
        request: &ChargeRequest<'_>,
        mut taken: Taken,
        answer: Result<Outcome, StorageError>,
    ) -> Result<Outcome, StorageError> {
        let Some(key) = only_key(request) else { return answer };
        let outcome = answer?; // what was taken is put back
        let now = self.now(request.clock());
        if !outcome.is_allowed() {
            taken.put_back();
        }
        let mut shard = self.table.lock(taken.hash);
        let hash = taken.hash;
        let joined = concluded(&mut shard, key, hash, request, &taken, Some(&outcome), now);
        drop(shard);
        taken.parts.clear();
        Ok(joined)
    }

    /// Asks the storage without charging; what is held here is there too.
    pub(super) fn peek(self: &Arc<Self>, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        let plans: Plans =
            request.charges().iter().map(|charge| self.plan(charge.rule())).collect();
        let reply = self.storage.peek(&translated(request, &plans, |_| 0).borrow(request));
        reply.then_with(self, request, |inner, request, answer| {
            Reply::ready(answer.map(|outcome| inner.with_stock(request, outcome)))
        })
    }

    fn with_stock(&self, request: &ChargeRequest<'_>, outcome: Outcome) -> Outcome {
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

/// Puts the verdicts together in the order of the charges.
fn concluded(
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
    for (place, charge) in request.charges().iter().enumerate() {
        let lease = of_key.as_mut().and_then(|of_key| of_key.of(charge.rule(), request.clock()));
        let part = taken.part(place);
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
            // Its lease has ended meanwhile.
            (Some(part), None) => {
                let receipt = part.receipt.filter(|_| allowed);
                Verdict { allowed: true, receipt, ..Verdict::default() }
            }
            (None, lease) => {
                let Some(answer) = answers.next() else { continue };
                let mut answer = *answer;
                if let Some(part) = part.filter(|_| allowed) {
                    answer.receipt = part.receipt; // of the oldest, as of what is in stock
                    spent = spent.saturating_add(part.cost());
                }
                lease.map_or(answer, |lease| {
                    lease.hear(&answer, at, now);
                    if !answer.allowed {
                        lease.rest(now);
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

/// Adds what is held here to what the storage would say.
fn with_held(charge: &Charge<'_>, verdict: &Verdict, held: u64) -> Verdict {
    let remaining = verdict.remaining.saturating_add(held).min(charge.rule().capacity());
    let allowed = verdict.allowed || charge.cost() <= remaining && !verdict.blocked;
    let retry_after = verdict.retry_after.filter(|_| !allowed);
    Verdict { allowed, remaining, retry_after, ..*verdict }
}

/// The charges of a request that are not taken from stock, by the rules that are charged.
struct Translated<'a> {
    charges: SmallVec<[Charge<'a>; 2]>,
}

fn translated<'a>(
    request: &ChargeRequest<'a>,
    plans: &'a Plans,
    taken: impl Fn(usize) -> u64,
) -> Translated<'a> {
    let places = request.charges().iter().zip(plans).enumerate();
    let charges = places.filter_map(|(place, (charge, plan))| {
        let rule = plan.as_ref().map_or(charge.rule(), |plan| &plan.charged);
        let cost = charge.cost() - taken(place);
        (cost > 0).then(|| Charge::new(charge.key(), rule, cost))
    });
    Translated { charges: charges.collect() }
}

impl Translated<'_> {
    fn borrow<'s>(&'s self, request: &ChargeRequest<'s>) -> ChargeRequest<'s> {
        ChargeRequest::new(&self.charges, request.clock())
    }
}
