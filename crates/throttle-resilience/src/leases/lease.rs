//! A lease: the permits that an instance holds of one key under one rule. Pure arithmetic, with the
//! time as a parameter.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{Micros, Receipt, Verdict};

use super::{pending_fetch::PendingFetch, plan::Plan, rate_estimator::RateEstimator};

/// Permits that the storage has already charged, and the storage's last verdict.
///
/// At all times [`Lease::held`], the sum of permits that are left, requested, lost and being
/// returned, is at most the amount that this instance may hold. Together with the other instances this
/// keeps early rejections within the lease budget.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) plan: Arc<Plan>,
    /// Oldest first.
    batches: SmallVec<[Batch; 1]>,
    left: u64,
    /// Permits to return, and the number of permits that the storage has not received yet.
    returns: Returns,
    returning: u64,
    /// Permits that may have been charged by calls without an answer, and the time until which they may count.
    lost: u64,
    lost_until: Micros,
    /// The fetch in flight, if any, and the permits that it requested.
    pub(super) fetching: Option<Arc<PendingFetch>>,
    asked: u64,
    /// No batch is requested before this.
    backoff_until: Micros,
    /// The last shortage in the storage: requests that need as much are rejected for a while.
    shortage: Option<Shortage>,
    /// The number of times that other instances had taken the freed permits, minus the times that they
    /// had not.
    contention: u32,
    last_verdict: LastVerdict,
    rate: RateEstimator,
    latest: Micros,
}

/// Permits of one charge, or of several charges in one window.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    pub(super) receipt: Option<Receipt>,
    pub(super) taken: u64,
    pub(super) left: u64,
    /// The time until which the permits may be spent.
    pub(super) until: Micros,
    /// The earliest time at which the permits stop counting in the storage, if they expire.
    pub(super) ends: Micros,
}

/// The storage's last verdict.
#[derive(Copy, Clone, Default, Debug)]
struct LastVerdict {
    remaining: u64,
    reset_after: Micros,
    /// By the storage's clock.
    at: Micros,
    /// By the local clock.
    received: Micros,
}

/// A shortage: the storage had less than `need`, which is assumed to hold until `until`.
#[derive(Copy, Clone, Debug)]
struct Shortage {
    need: u64,
    until: Micros,
}

/// A partial shortage: the storage had less than a batch.
#[derive(Copy, Clone, Debug)]
pub(super) struct Short {
    /// The time until it has a whole batch.
    pub(super) whole: Micros,
    /// Whether it had so little that other instances must have taken freed permits.
    pub(super) others_took: bool,
}

/// Permits that are no longer held and must be returned.
pub(super) type Returns = SmallVec<[Batch; 1]>;

/// The pause in fetching after a denial or a failure.
pub(super) const BACKOFF: Micros = Micros::new(10_000);
/// The longest time for which a denial is reused, because a refund elsewhere may free the key.
const MAX_DENIAL_AGE: Micros = Micros::new(500_000);
/// The smallest batch that is fetched ahead while instances compete for it.
const SMALL: u64 = 8;
/// The maximum number of doublings of a wait.
const MAX_CONTENTION: u32 = 16;
/// The maximum number of batches held at a time.
const MOST_BATCHES: usize = 8;

impl Lease {
    pub(super) fn new(plan: Arc<Plan>, now: Micros) -> Self {
        let rate = RateEstimator::new(now, plan.hot_threshold());
        Self {
            plan,
            batches: SmallVec::new(),
            left: 0,
            returns: Returns::new(),
            returning: 0,
            lost: 0,
            lost_until: Micros::ZERO,
            fetching: None,
            asked: 0,
            backoff_until: Micros::ZERO,
            shortage: None,
            contention: 0,
            last_verdict: LastVerdict::default(),
            rate,
            latest: now,
        }
    }

    /// Returns how many permits can be spent.
    #[inline]
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Returns how much of a cost the lease covers: all, or the part without which the storage denies the
    /// rest.
    pub(super) fn part_of(&self, cost: u64) -> u64 {
        let remaining = self.last_verdict.remaining;
        match self.left >= cost {
            true => cost,
            false if remaining < cost && self.left.saturating_add(remaining) >= cost => self.left,
            false => 0,
        }
    }

    /// Advances the lease to `now`: expired batches become permits to return. A clock that steps
    /// back ends all batches, because their end can no longer be determined.
    #[inline]
    pub(super) fn advance(&mut self, now: Micros) {
        if now < self.latest {
            self.end();
            (self.backoff_until, self.lost, self.shortage, self.contention) =
                (Micros::ZERO, 0, None, 0);
            self.rate = RateEstimator::new(now, self.plan.hot_threshold());
        }
        self.latest = now;
        while let Some(batch) = self.batches.first()
            && now >= batch.until
        {
            self.left -= batch.left;
            let batch = self.batches.remove(0);
            self.return_permits(batch);
        }
        if self.lost > 0 && now >= self.lost_until {
            self.lost = 0;
        }
    }

    /// Records a request in the rate estimate, whether or not the lease serves it.
    #[inline]
    pub(super) fn record_demand(&mut self, cost: u64, now: Micros) {
        self.rate.add(cost, now);
    }

    /// Spends `cost`, which must be available, and returns the receipt of the oldest batch that it comes
    /// from: a refund goes to that batch, so refunded permits are spent before they expire.
    #[inline]
    pub(super) fn spend(&mut self, cost: u64) -> Option<Receipt> {
        self.left -= cost;
        let (mut cost, mut receipt) = (cost, None);
        for batch in self.batches.iter_mut().filter(|batch| batch.left > 0) {
            let part = cost.min(batch.left);
            batch.left -= part;
            cost -= part;
            receipt = receipt.or(batch.receipt);
            if cost == 0 {
                break;
            }
        }
        if !self.plan.is_of_windows() {
            // Empty batches of a window stay, so that refunded permits have a batch to go to.
            self.batches.retain(|batch| batch.left > 0);
        }
        receipt
    }

    /// Puts spent permits back, if their batch is still held. Otherwise returns false, and the
    /// caller refunds the storage.
    pub(super) fn put_back(&mut self, receipt: Option<Receipt>, cost: u64, most: u64) -> bool {
        if self.held().saturating_add(cost) > most {
            return false;
        }
        let of_windows = self.plan.is_of_windows();
        let same = |batch: &&mut Batch| match (batch.receipt, receipt) {
            (Some(one), Some(two)) => {
                one == two || of_windows && one.charged_at() == two.charged_at()
            }
            _ => false,
        };
        let Some(batch) = self.batches.iter_mut().find(same) else { return false };
        if batch.taken - batch.left < cost {
            return false;
        }
        batch.left += cost;
        self.left += cost;
        true
    }

    /// Returns how many permits count as held: left, requested, lost or being returned.
    pub(super) fn held(&self) -> u64 {
        let elsewhere = self.asked.saturating_add(self.lost).saturating_add(self.returning);
        self.left.saturating_add(elsewhere)
    }

    /// Returns how many permits the key should hold, at most `most`.
    pub(super) fn wanted(&self, now: Micros, most: u64) -> u64 {
        self.rate.in_time(self.plan.horizon, now).clamp(1, most.max(1))
    }

    /// Returns how many permits to fetch ahead, if half of the wanted number is spent.
    #[inline]
    pub(super) fn ahead(&self, now: Micros, most: u64) -> Option<u64> {
        if self.fetching.is_some() || now < self.backoff_until || self.batches.len() >= MOST_BATCHES
        {
            return None;
        }
        let wanted = self.wanted(now, most);
        if self.left >= wanted.div_ceil(2) || self.fetches_only_need(most) {
            return None;
        }
        let amount = wanted.saturating_sub(self.left).min(most.saturating_sub(self.held()));
        (amount > 0).then_some(amount)
    }

    /// Returns how many permits to fetch so that `cost` can be spent, or `None` if that exceeds
    /// what may be held or fetching pauses.
    pub(super) fn needed(&self, cost: u64, now: Micros, most: u64) -> Option<u64> {
        let need = cost.saturating_sub(self.left);
        let room = most.saturating_sub(self.held());
        if now < self.backoff_until || need > room || self.batches.len() >= MOST_BATCHES {
            return None;
        }
        if self.fetches_only_need(most) {
            return Some(need);
        }
        Some(self.wanted(now, most).saturating_sub(self.left).max(need).min(room))
    }

    /// Returns whether only needed permits are fetched. If batches are small and other instances
    /// take part of them meanwhile, fetching whole batches, and then smaller ones, would make more
    /// calls than requests.
    fn fetches_only_need(&self, most: u64) -> bool {
        self.contention > 0 && most < SMALL
    }

    /// Records a fetch of `amount`.
    pub(super) fn ask(&mut self, amount: u64, pending_fetch: Arc<PendingFetch>) {
        self.asked = amount;
        self.fetching = Some(pending_fetch);
    }

    /// Records that the fetch now requests less, because the storage has too little.
    pub(super) fn ask_less(&mut self, amount: u64) {
        self.asked = amount;
    }

    /// Records that the fetch is answered, and returns it.
    pub(super) fn answered(&mut self) -> Option<Arc<PendingFetch>> {
        self.asked = 0;
        self.fetching.take()
    }

    /// Adds a granted batch.
    pub(super) fn deposit(&mut self, batch: Batch) {
        self.shortage = None;
        self.left = self.left.saturating_add(batch.left);
        let same = |one: &&mut Batch| match (one.receipt, batch.receipt) {
            (Some(one), Some(two)) => one.charged_at() == two.charged_at(),
            _ => false,
        };
        if self.plan.is_of_windows()
            && let Some(old) = self.batches.iter_mut().find(same)
        {
            // Both ends are before the true end of the window, so the later one is safe.
            old.taken = old.taken.saturating_add(batch.taken);
            old.left = old.left.saturating_add(batch.left);
            (old.until, old.ends) = (old.until.max(batch.until), old.ends.max(batch.ends));
            return;
        }
        self.batches.push(batch);
    }

    /// Records the storage's verdict on the key.
    pub(super) fn record_verdict(&mut self, verdict: &Verdict, at: Micros, now: Micros) {
        let (remaining, reset_after) = (verdict.remaining, verdict.reset_after);
        self.last_verdict = LastVerdict { remaining, reset_after, at, received: now };
    }

    /// Pauses fetching for a moment.
    pub(super) fn back_off(&mut self, now: Micros) {
        self.backoff_until = now.plus(BACKOFF);
    }

    /// Records a denial: rejects requests that need at least `need` more than is held, for half of
    /// the time until the storage has the whole amount requested at `sent`. Until then, less is
    /// unclaimed in the storage than this instance may hold, so the early rejections stay within
    /// the budget. Then the next batch is fetched.
    pub(super) fn record_denial(&mut self, need: u64, whole: Micros, sent: Micros) {
        let wait = (whole.get() / 2).max(BACKOFF.get().min(whole.get()));
        let wait = wait.max(self.contention_wait(whole)).min(MAX_DENIAL_AGE.get());
        self.contention = (self.contention + 1).min(MAX_CONTENTION);
        self.pause(need, sent.plus(Micros::new(wait)));
    }

    /// Records a partial batch: treats it as all that the storage has, for half of the time until
    /// it has a whole batch, but no longer than `most`.
    pub(super) fn record_partial(&mut self, need: u64, short: Short, most: Micros, sent: Micros) {
        let whole = short.whole;
        let wait = (whole.get() / 2).max(self.contention_wait(whole)).min(most.get());
        self.contention = match short.others_took {
            true => (self.contention + 1).min(MAX_CONTENTION),
            false => self.contention.saturating_sub(1),
        };
        self.pause(need, sent.plus(Micros::new(wait)));
    }

    /// Records a full batch, after which `remaining` permits are left in the storage.
    pub(super) fn record_full(&mut self, remaining: u64) {
        if remaining >= SMALL {
            self.contention = self.contention.saturating_sub(1);
        }
    }

    /// Returns how long to wait if others take the freed permits: twice as long each time, so that
    /// many instances do not each make a call for every freed permit.
    fn contention_wait(&self, whole: Micros) -> u64 {
        let doubled = whole.get().saturating_mul(1 << self.contention) / 2;
        self.plan.max_contention_wait().map_or(0, |most| doubled.min(most.get()))
    }

    /// Pauses fetching until `until`, and rejects requests that need at least `need` more than is
    /// held.
    pub(super) fn pause(&mut self, need: u64, until: Micros) {
        self.shortage = Some(Shortage { need, until });
        self.backoff_until = until;
    }

    /// Returns the verdict on a request that is rejected without calling the storage, if it is
    /// known to be short.
    #[inline]
    pub(super) fn rejection(&self, cost: u64, now: Micros) -> Option<(Verdict, Micros)> {
        let shortage = self.shortage.filter(|shortage| now < shortage.until)?;
        if cost.saturating_sub(self.left) < shortage.need {
            return None;
        }
        let (verdict, by) = self.verdict(None, now);
        let remaining = verdict.remaining.min(cost.saturating_sub(1));
        let retry_after = Some(shortage.until.since(now));
        Some((Verdict { allowed: false, remaining, retry_after, ..verdict }, by))
    }

    /// Records permits that may have been charged by a call without an answer.
    pub(super) fn lose(&mut self, amount: u64, until: Micros) {
        self.lost = self.lost.saturating_add(amount);
        self.lost_until = self.lost_until.max(until);
    }

    /// Returns the verdict on a request that this lease serves, and the storage's time.
    #[inline]
    pub(super) fn verdict(&self, receipt: Option<Receipt>, now: Micros) -> (Verdict, Micros) {
        let gone = now.since(self.last_verdict.received);
        let remaining = self.left.saturating_add(self.last_verdict.remaining);
        let verdict = Verdict {
            allowed: true,
            remaining: remaining.min(self.plan.rule.capacity()),
            reset_after: self.last_verdict.reset_after.since(gone),
            receipt,
            ..Verdict::default()
        };
        (verdict, self.last_verdict.at.plus(gone))
    }

    /// Returns whether the key is cold: its rate is below half of the threshold, so that a key near
    /// it does not flap.
    pub(super) fn is_cold(&self, now: Micros) -> bool {
        self.rate.per_second(now) < self.plan.hot_threshold() / 2
    }

    /// Returns whether nothing is held, requested or lost.
    pub(super) fn is_empty(&self) -> bool {
        self.held() == 0 && self.fetching.is_none()
    }

    /// Returns permits above the wanted number, newest first, if there are more than twice as many.
    pub(super) fn trim(&mut self, now: Micros, most: u64) {
        let wanted = self.wanted(now, most);
        if self.left <= wanted.saturating_mul(2) {
            return;
        }
        let mut excess = self.left - wanted;
        for index in (0..self.batches.len()).rev() {
            let batch = &mut self.batches[index];
            let part = excess.min(batch.left);
            batch.left -= part;
            batch.taken -= part;
            self.left -= part;
            excess -= part;
            let part = Batch { taken: part, left: part, ..*batch };
            self.return_permits(part);
        }
    }

    /// Ends all batches.
    pub(super) fn end(&mut self) {
        while let Some(batch) = self.batches.pop() {
            self.return_permits(batch);
        }
        self.left = 0;
    }

    fn return_permits(&mut self, batch: Batch) {
        if batch.left > 0 {
            self.returning = self.returning.saturating_add(batch.left);
            self.returns.push(batch);
        }
    }

    /// Takes out the permits to be returned.
    pub(super) fn take_returns(&mut self) -> Returns {
        std::mem::take(&mut self.returns)
    }

    /// Records that permits were returned, or were lost on the way.
    pub(super) fn returned(&mut self, amount: u64) {
        self.returning = self.returning.saturating_sub(amount);
    }
}

#[cfg(test)]
mod tests;
