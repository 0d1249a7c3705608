//! What a server holds of one key under one rule: arithmetic, with the time as a parameter.

use std::sync::Arc;

use smallvec::SmallVec;
use throttle_core::{Micros, Receipt, Verdict};

use super::{pending_fetch::Gate, plan::Plan, rate_estimator::Meter};

/// Holds permits that the storage has charged already, and what it said when it was asked last.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) plan: Arc<Plan>,
    /// The oldest first.
    batches: SmallVec<[Batch; 1]>,
    left: u64,
    /// Permits that are to be given back, and how many are not yet, in the storage.
    returns: Returns,
    returning: u64,
    /// What may have been charged by calls whose answers are lost, and until when it may matter.
    lost: u64,
    lost_until: Micros,
    /// What was asked for and is not answered yet.
    pub(super) fetching: Option<Arc<Gate>>,
    asked: u64,
    /// Before this no batch is asked for.
    rest_until: Micros,
    /// What the storage has not got: who needs so much more than is held is refused for a while.
    refused: Option<Refused>,
    /// How often others had taken what was asked for, less how often they had not.
    crowd: u32,
    told: Told,
    meter: Meter,
    latest: Micros,
}

/// Permits of one charge, or of several in one window.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Batch {
    pub(super) receipt: Option<Receipt>,
    pub(super) taken: u64,
    pub(super) left: u64,
    /// Spent before this.
    pub(super) until: Micros,
    /// No earlier than this they cease to matter, where they do.
    pub(super) ends: Micros,
}

/// What the storage said last.
#[derive(Copy, Clone, Default, Debug)]
struct Told {
    remaining: u64,
    reset_after: Micros,
    /// By the storage's clock.
    at: Micros,
    /// By ours.
    came: Micros,
}

/// Says that the storage had less than `need`, and until when that is taken for granted.
#[derive(Copy, Clone, Debug)]
struct Refused {
    need: u64,
    until: Micros,
}

/// Says that the storage had less than a batch.
#[derive(Copy, Clone, Debug)]
pub(super) struct Short {
    /// How long it takes until it has a whole one.
    pub(super) whole: Micros,
    /// Whether it had so little that others must have taken what came back.
    pub(super) others_took: bool,
}

/// Permits that are held no longer, to be given back.
pub(super) type Returns = SmallVec<[Batch; 1]>;

/// After a denial or a failure no batch is asked for so long.
pub(super) const REST: Micros = Micros::new(10_000);
/// A denial is taken for granted no longer than this, so that others may free the key.
const GRANTED: Micros = Micros::new(500_000);
/// Batches of which nobody holds as much as this are hardly worth asking for by turns.
const SMALL: u64 = 8;
/// A wait is doubled no oftener than this.
const MOST_CROWD: u32 = 16;
/// More batches than this are not held at once.
const MOST_BATCHES: usize = 8;

impl Lease {
    pub(super) fn new(plan: Arc<Plan>, now: Micros) -> Self {
        let meter = Meter::new(now, plan.worth());
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
            rest_until: Micros::ZERO,
            refused: None,
            crowd: 0,
            told: Told::default(),
            meter,
            latest: now,
        }
    }

    /// Returns how much can be spent.
    #[inline]
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Returns how much of a cost to spend: all of it, or what is held where the storage has only the rest.
    pub(super) fn part_of(&self, cost: u64) -> u64 {
        let remaining = self.told.remaining;
        match self.left >= cost {
            true => cost,
            false if remaining < cost && self.left.saturating_add(remaining) >= cost => self.left,
            false => 0,
        }
    }

    /// Brings the lease to now: what may no longer be spent is to be given back. A clock that steps
    /// back ends all.
    #[inline]
    pub(super) fn advance(&mut self, now: Micros) {
        if now < self.latest {
            self.end();
            (self.rest_until, self.lost, self.refused, self.crowd) = (Micros::ZERO, 0, None, 0);
            self.meter = Meter::new(now, self.plan.worth());
        }
        self.latest = now;
        while let Some(batch) = self.batches.first()
            && now >= batch.until
        {
            self.left -= batch.left;
            let batch = self.batches.remove(0);
            self.give_back(batch);
        }
        if self.lost > 0 && now >= self.lost_until {
            self.lost = 0;
        }
    }

    /// Takes note of a request, whether or not it is served.
    #[inline]
    pub(super) fn meet(&mut self, cost: u64, now: Micros) {
        self.meter.add(cost, now);
    }

    /// Takes `cost`, of which there is enough, and says from which batch: from the oldest of those that
    /// gave, so that what is given back is spent sooner rather than later.
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
            // Of a window they stay, for what is put back.
            self.batches.retain(|batch| batch.left > 0);
        }
        receipt
    }

    /// Puts spent permits back, if what they were taken from is still held; otherwise the storage is to
    /// get them.
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

    /// Returns how much is held, or may be.
    pub(super) fn held(&self) -> u64 {
        let elsewhere = self.asked.saturating_add(self.lost).saturating_add(self.returning);
        self.left.saturating_add(elsewhere)
    }

    /// Returns how much the key should have in stock, of at most `most`.
    pub(super) fn wanted(&self, now: Micros, most: u64) -> u64 {
        self.meter.in_time(self.plan.horizon, now).clamp(1, most.max(1))
    }

    /// Returns how much to ask for ahead of need, if it is time: half of what should be in stock is
    /// spent.
    #[inline]
    pub(super) fn ahead(&self, now: Micros, most: u64) -> Option<u64> {
        if self.fetching.is_some() || now < self.rest_until || self.batches.len() >= MOST_BATCHES {
            return None;
        }
        let wanted = self.wanted(now, most);
        if self.left >= wanted.div_ceil(2) || self.is_hand_to_mouth(most) {
            return None;
        }
        let amount = wanted.saturating_sub(self.left).min(most.saturating_sub(self.held()));
        (amount > 0).then_some(amount)
    }

    /// Returns how much to ask for so that `cost` can be spent; none if so much is never held.
    pub(super) fn needed(&self, cost: u64, now: Micros, most: u64) -> Option<u64> {
        let need = cost.saturating_sub(self.left);
        let room = most.saturating_sub(self.held());
        if now < self.rest_until || need > room || self.batches.len() >= MOST_BATCHES {
            return None;
        }
        if self.is_hand_to_mouth(most) {
            return Some(need);
        }
        Some(self.wanted(now, most).saturating_sub(self.left).max(need).min(room))
    }

    /// Returns whether no more is asked for than is needed: where a batch is so small that others take a part of
    /// it meanwhile, to ask for all of it and then for less would be more calls than requests.
    fn is_hand_to_mouth(&self, most: u64) -> bool {
        self.crowd > 0 && most < SMALL
    }

    /// Takes note that so much is asked for, behind a gate.
    pub(super) fn ask(&mut self, amount: u64, gate: Arc<Gate>) {
        self.asked = amount;
        self.fetching = Some(gate);
    }

    /// Takes note that less is asked for, because the storage has not got so much.
    pub(super) fn ask_less(&mut self, amount: u64) {
        self.asked = amount;
    }

    /// Takes note that what was asked for is answered, and returns its gate.
    pub(super) fn answered(&mut self) -> Option<Arc<Gate>> {
        self.asked = 0;
        self.fetching.take()
    }

    /// Takes in what the storage granted.
    pub(super) fn deposit(&mut self, batch: Batch) {
        self.refused = None;
        self.left = self.left.saturating_add(batch.left);
        let same = |one: &&mut Batch| match (one.receipt, batch.receipt) {
            (Some(one), Some(two)) => one.charged_at() == two.charged_at(),
            _ => false,
        };
        if self.plan.is_of_windows()
            && let Some(old) = self.batches.iter_mut().find(same)
        {
            // Each of them knows a time that is before their window's end.
            old.taken = old.taken.saturating_add(batch.taken);
            old.left = old.left.saturating_add(batch.left);
            (old.until, old.ends) = (old.until.max(batch.until), old.ends.max(batch.ends));
            return;
        }
        self.batches.push(batch);
    }

    /// Takes note of what the storage says about the key.
    pub(super) fn hear(&mut self, verdict: &Verdict, at: Micros, now: Micros) {
        let (remaining, reset_after) = (verdict.remaining, verdict.reset_after);
        self.told = Told { remaining, reset_after, at, came: now };
    }

    /// Asks for nothing for a moment.
    pub(super) fn rest(&mut self, now: Micros) {
        self.rest_until = now.plus(REST);
    }

    /// Refuses what needs as much as `need` more than is held, for half as long as it takes until the whole
    /// amount is there that was asked for at `sent`: until then less is unclaimed in the storage than this
    /// server may hold. Then the next batch is asked for.
    pub(super) fn refuse(&mut self, need: u64, whole: Micros, sent: Micros) {
        let wait = (whole.get() / 2).max(REST.get().min(whole.get()));
        let wait = wait.max(self.crowded(whole)).min(GRANTED.get());
        self.crowd = (self.crowd + 1).min(MOST_CROWD);
        self.pause(need, sent.plus(Micros::new(wait)));
    }

    /// Takes a part of a batch for all there is, for half as long as it takes until the whole is there, but
    /// no longer than `most`.
    pub(super) fn came_short(&mut self, need: u64, short: Short, most: Micros, sent: Micros) {
        let whole = short.whole;
        let wait = (whole.get() / 2).max(self.crowded(whole)).min(most.get());
        self.crowd = match short.others_took {
            true => (self.crowd + 1).min(MOST_CROWD),
            false => self.crowd.saturating_sub(1),
        };
        self.pause(need, sent.plus(Micros::new(wait)));
    }

    /// Takes note that all came that was asked for, and that so much remains in the storage.
    pub(super) fn came_whole(&mut self, remaining: u64) {
        if remaining >= SMALL {
            self.crowd = self.crowd.saturating_sub(1);
        }
    }

    /// Returns how long to wait where others take what comes back: twice as long each time, so that many
    /// servers do not ask for every permit by turns.
    fn crowded(&self, whole: Micros) -> u64 {
        let doubled = whole.get().saturating_mul(1 << self.crowd) / 2;
        self.plan.patience().map_or(0, |most| doubled.min(most.get()))
    }

    /// Asks for nothing, and refuses what needs as much as `need` more than is held, until then.
    pub(super) fn pause(&mut self, need: u64, until: Micros) {
        self.refused = Some(Refused { need, until });
        self.rest_until = until;
    }

    /// Returns what to tell a request that is refused without asking the storage.
    #[inline]
    pub(super) fn refusal(&self, cost: u64, now: Micros) -> Option<(Verdict, Micros)> {
        let refused = self.refused.filter(|refused| now < refused.until)?;
        if cost.saturating_sub(self.left) < refused.need {
            return None;
        }
        let (verdict, by) = self.verdict(None, now);
        let remaining = verdict.remaining.min(cost.saturating_sub(1));
        let retry_after = Some(refused.until.since(now));
        Some((Verdict { allowed: false, remaining, retry_after, ..verdict }, by))
    }

    /// Takes note that so much may have been charged, nobody knows.
    pub(super) fn lose(&mut self, amount: u64, until: Micros) {
        self.lost = self.lost.saturating_add(amount);
        self.lost_until = self.lost_until.max(until);
    }

    /// Returns what to tell of a request that is served by this lease, and the time by the storage.
    #[inline]
    pub(super) fn verdict(&self, receipt: Option<Receipt>, now: Micros) -> (Verdict, Micros) {
        let gone = now.since(self.told.came);
        let remaining = self.left.saturating_add(self.told.remaining);
        let verdict = Verdict {
            allowed: true,
            remaining: remaining.min(self.plan.rule.capacity()),
            reset_after: self.told.reset_after.since(gone),
            receipt,
            ..Verdict::default()
        };
        (verdict, self.told.at.plus(gone))
    }

    /// Returns whether the key is no longer worth its place.
    pub(super) fn is_cold(&self, now: Micros) -> bool {
        self.meter.per_second(now) < self.plan.worth() / 2
    }

    /// Returns whether nothing is held, asked for or lost.
    pub(super) fn is_empty(&self) -> bool {
        self.held() == 0 && self.fetching.is_none()
    }

    /// Gives back what is more than twice what should be in stock, of the newest first.
    pub(super) fn trim(&mut self, now: Micros, most: u64) {
        let wanted = self.wanted(now, most);
        if self.left <= wanted.saturating_mul(2) {
            return;
        }
        let mut excess = self.left - wanted;
        for place in (0..self.batches.len()).rev() {
            let batch = &mut self.batches[place];
            let part = excess.min(batch.left);
            batch.left -= part;
            batch.taken -= part;
            self.left -= part;
            excess -= part;
            let part = Batch { taken: part, left: part, ..*batch };
            self.give_back(part);
        }
    }

    /// Ends all that is held.
    pub(super) fn end(&mut self) {
        while let Some(batch) = self.batches.pop() {
            self.give_back(batch);
        }
        self.left = 0;
    }

    fn give_back(&mut self, batch: Batch) {
        if batch.left > 0 {
            self.returning = self.returning.saturating_add(batch.left);
            self.returns.push(batch);
        }
    }

    /// Takes out what is to be given back.
    pub(super) fn take_returns(&mut self) -> Returns {
        std::mem::take(&mut self.returns)
    }

    /// Takes note that so much was given back, or was lost on the way.
    pub(super) fn returned(&mut self, amount: u64) {
        self.returning = self.returning.saturating_sub(amount);
    }
}

#[cfg(test)]
mod tests;
