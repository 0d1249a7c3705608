//! The token bucket and the leaky bucket: one backlog, read from two sides.
//!
//! A request of cost c adds `c·W` to the backlog, which drains by N each microsecond; B·W is the most
//! it holds. The token bucket calls the room that is left tokens; the leaky bucket calls the backlog
//! a queue, and the time it takes to drain the wait for one's turn. Its unit, tokens × W, keeps every
//! fraction whole, and a limit that is replaced keeps the tokens that are taken.
//!
//! Where the burst was lowered, more may be taken than it holds now. What is beyond drains as fast as by
//! the rule that let it in, if that is faster: to forget it would admit more than that rule does, wherever
//! servers still go by it, and to let it drain by a new limit that is lower would shut clients out for many
//! windows.
//!
//! A refund returns what has not drained yet of a charge. Charges drain in the order in which they came, so that
//! the position in the backlog, which the receipt names, says how much that is.
//!
//! - In a token bucket the charges behind it move up. Their receipts still name the old positions:
//!   [`ReceiptOffset`] is the difference.
//! - In a leaky bucket the requests behind it have their scheduled times, and stay. It leaves a freed slot, which
//!   the next request takes, its scheduled time included; at the end of the queue there is none. Otherwise
//!   one client could have many requests wait for the same moment.

use super::{
    answer::{Availability, Decided},
    freed_slots::{FreedSlot, FreedSlots},
};
use crate::{
    exact::{PackedU128, product, quotient, quotient_ceil},
    receipt::Receipt,
    rule::{
        algorithm::Algorithm,
        checked::{CheckedRule, MAX_LIMIT},
    },
    time::Micros,
};

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Bucket {
    pub(super) backlog: PackedU128,
    pub(super) at: Micros,
    /// The window in whose unit the backlog is.
    pub(super) window: Micros,
    /// By how much what is beyond the room drains in a microsecond: N of the latest rule that had room for
    /// all of it.
    pub(super) rate: u64,
    /// What was refunded from within the backlog; most buckets have none.
    pub(super) returned: Option<Box<Returned>>,
}

/// What was refunded of charges that others stand behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Returned {
    /// Of a token bucket.
    Offset(ReceiptOffset),
    /// Of a leaky bucket.
    FreedSlots(FreedSlots),
}

/// How much nearer to the front of the backlog charges stand than their receipts say.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct ReceiptOffset {
    /// By how much at most, in the backlog's unit.
    pub(super) by: PackedU128,
    /// Charges from before have drained, whatever their receipts say.
    pub(super) since: Micros,
}

impl Bucket {
    #[inline]
    pub(super) fn advance(&mut self, rule: &CheckedRule, now: Micros) {
        if self.window != rule.window() {
            self.rescale(rule.window());
        }
        let since = now.since(self.at).get();
        self.at = now; // also when the clock stepped back: nothing drained, nothing lost
        let before = self.backlog.get();
        if before > room(rule) {
            self.drain_beyond(rule, since);
        } else {
            self.backlog = PackedU128::new(before.saturating_sub(product(since, rule.limit())));
            self.rate = rule.limit();
        }
        if self.returned.is_some() {
            self.advance_returned(rule, before - self.backlog.get());
        }
    }

    #[cold]
    fn advance_returned(&mut self, rule: &CheckedRule, drained: u128) {
        let queues = rule.algorithm() == Algorithm::LeakyBucket;
        let is_over = match self.returned.as_deref_mut() {
            Some(Returned::Offset(offset)) if !queues && self.backlog.get() == 0 => {
                // Where nothing is left no charge can have moved.
                if offset.by.get() > 0 {
                    *offset = ReceiptOffset { by: PackedU128::default(), since: self.at };
                }
                offset.since = offset.since.min(self.at); // the clock stepped back
                // No receipt from before can name what is not drained.
                product(self.at.since(offset.since).get(), rule.limit()) >= room(rule)
            }
            Some(Returned::FreedSlots(slots)) => {
                slots.drain(drained);
                if !queues {
                    self.backlog = PackedU128::new(self.backlog.get().saturating_sub(slots.sum()));
                }
                slots.is_empty() || !queues
            }
            _ => queues, // whose queue begins with what is left
        };
        if is_over {
            self.returned = None;
        }
    }

    #[cold]
    fn rescale(&mut self, window: Micros) {
        let backlog = rescaled(self.backlog.get(), self.window, window);
        self.backlog = PackedU128::new(backlog.min(MOST));
        if self.window != Micros::ZERO {
            let rate = quotient(product(self.rate, window.get()), self.window.get());
            self.rate = rate.clamp(1, MAX_LIMIT); // no rule drains by less, and products still fit
        }
        let from = self.window;
        let rescaled = |position: u128| rescaled(position, from, window).min(MOST);
        match self.returned.as_deref_mut() {
            Some(Returned::Offset(offset)) => {
                offset.by = PackedU128::new(rescaled(offset.by.get()));
            }
            Some(Returned::FreedSlots(slots)) => slots.change(rescaled),
            None => {}
        }
        self.window = window;
    }

    #[cold]
    fn drain_beyond(&mut self, rule: &CheckedRule, since: u64) {
        let (wait, within) = self.within(rule);
        if since < wait {
            let drained = product(since, self.rate_of(rule));
            self.backlog = PackedU128::new(self.backlog.get().saturating_sub(drained));
            return;
        }
        self.backlog = PackedU128::new(within.saturating_sub(product(since - wait, rule.limit())));
        self.rate = rule.limit();
    }

    /// Returns how long it takes until there is room for all of the backlog, and how much that is then.
    #[inline]
    fn within(&self, rule: &CheckedRule) -> (u64, u128) {
        let backlog = self.backlog.get();
        let beyond = backlog.saturating_sub(room(rule));
        if beyond == 0 {
            return (0, backlog);
        }
        let rate = self.rate_of(rule);
        let wait = quotient_ceil(beyond, rate);
        (wait, backlog.saturating_sub(product(wait, rate)))
    }

    fn rate_of(&self, rule: &CheckedRule) -> u64 {
        self.rate.max(rule.limit())
    }

    pub(super) fn is_ahead(&self, now: Micros) -> bool {
        self.at > now
    }

    #[inline]
    pub(super) fn decide(&self, rule: &CheckedRule, _: Micros, cost: u64) -> Decided {
        let within @ (wait, backlog) = self.within(rule);
        let charged = product(cost, rule.window().get());
        let over = (backlog + charged).saturating_sub(room(rule));
        let for_room = match over > 0 || wait > 0 {
            true => drain_time(over, rule).plus(Micros::new(wait)),
            false => Micros::ZERO,
        };
        if rule.algorithm() == Algorithm::LeakyBucket {
            return self.decide_turn(rule, charged, within, for_room);
        }
        match for_room {
            Micros::ZERO => Decided::Allowed { delay: Micros::ZERO },
            wait => Decided::Denied { retry_after: Some(wait), blocked: false },
        }
    }

    /// Says when the turn of a request is that finds a place at the end of the queue after `for_room`.
    fn decide_turn(
        &self,
        rule: &CheckedRule,
        charged: u128,
        (excess, backlog): (u64, u128),
        for_room: Micros,
    ) -> Decided {
        let too_far = |turn: Micros| turn.since(rule.max_delay().unwrap_or(Micros::MAX));
        let excess = Micros::new(excess);
        let turn = drain_time(backlog, rule).plus(excess);
        let at_end = for_room.max(too_far(turn));
        let (turn, wait) = match self.slot_for(charged, backlog) {
            None => (turn, at_end),
            Some(begin) => {
                let sooner = drain_time(begin, rule).plus(excess);
                (sooner, at_end.min(excess.max(too_far(sooner))))
            }
        };
        match wait {
            Micros::ZERO => Decided::Allowed { delay: turn },
            wait => Decided::Denied { retry_after: Some(wait), blocked: false },
        }
    }

    fn freed_slots(&self) -> &[FreedSlot] {
        match self.returned.as_deref() {
            Some(Returned::FreedSlots(slots)) => &slots.0,
            _ => &[],
        }
    }

    /// Returns where a freed slot for a charge begins when the backlog has drained to `backlog`, for which there
    /// is room: what is beyond drains at its own rate, so that no slot is taken before.
    fn slot_for(&self, charged: u128, backlog: u128) -> Option<u128> {
        let gone = self.backlog.get().saturating_sub(backlog);
        let rest = |slot: &FreedSlot| {
            let (from, to) = (slot.from.get(), slot.to.get());
            (from.saturating_sub(gone), to.saturating_sub(gone))
        };
        let fits = |&(from, to): &(u128, u128)| to - from >= charged;
        self.freed_slots().iter().map(rest).find(fits).map(|(from, _)| from)
    }

    #[inline]
    pub(super) fn charge(&mut self, rule: &CheckedRule, now: Micros, cost: u64) -> Receipt {
        let charged = product(cost, rule.window().get());
        if self.returned.is_some()
            && let Some(end) = self.charge_slot(charged)
        {
            return Receipt::new(now, end);
        }
        let backlog = self.backlog.get() + charged;
        self.backlog = PackedU128::new(backlog);
        Receipt::new(now, backlog + self.offset().by.get())
    }

    /// Takes a freed slot, if one has room, and returns where what was taken ends.
    #[cold]
    fn charge_slot(&mut self, charged: u128) -> Option<u128> {
        let Some(Returned::FreedSlots(slots)) = self.returned.as_deref_mut() else { return None };
        let slot = slots.find(charged)?;
        let end = slots.take(slot, charged);
        if slots.is_empty() {
            self.returned = None;
        }
        Some(end)
    }

    #[inline]
    fn offset(&self) -> ReceiptOffset {
        match self.returned.as_deref() {
            Some(Returned::Offset(offset)) => *offset,
            _ => ReceiptOffset::default(),
        }
    }

    /// Gives back what has not drained yet of the charge.
    pub(super) fn refund(
        &mut self,
        rule: &CheckedRule,
        now: Micros,
        cost: u64,
        receipt: Option<Receipt>,
    ) {
        let charged = product(cost, rule.window().get());
        let position = receipt.map(|receipt| {
            let drained = product(now.since(receipt.charged_at).get(), self.rate_of(rule));
            // None that a rule of this window gave says more.
            let level = receipt.fill_level().min(product(1 << 53, rule.window().get()));
            (receipt.charged_at, level.saturating_sub(drained), drained)
        });
        match rule.algorithm() {
            Algorithm::LeakyBucket => self.leave(charged, position.map(|(_, end, _)| end)),
            _ => self.refill(rule, now, charged, position),
        }
    }

    /// Frees what ends at a position of the queue, or at its end.
    fn leave(&mut self, charged: u128, position: Option<u128>) {
        let mut slots = match self.returned.take().map(|returned| *returned) {
            Some(Returned::FreedSlots(slots)) => slots,
            _ => FreedSlots::default(),
        };
        let end = self.backlog.get();
        let to = position.map(|to| to.min(end));
        let left = match to.map(|to| (to.saturating_sub(charged), to)) {
            None => slots.free_last(charged, end),
            Some((from, to)) if from < to => slots.free(from, to, end),
            Some(_) => end, // its scheduled time is over
        };
        self.backlog = PackedU128::new(left);
        if !slots.is_empty() {
            self.returned = Some(Box::new(Returned::FreedSlots(slots)));
        }
    }

    /// Gives back what has not been refilled of a charge that ended at a position, so much of which has drained.
    fn refill(
        &mut self,
        rule: &CheckedRule,
        now: Micros,
        charged: u128,
        position: Option<(Micros, u128, u128)>,
    ) {
        let (backlog, offset) = (self.backlog.get(), self.offset());
        let Some((mark, position, drained)) = position else {
            self.backlog = PackedU128::new(backlog.saturating_sub(charged)); // of the last
            return;
        };
        let by = offset.by.get();
        // It stood within the room, whatever had moved by then.
        let most = room(rule).saturating_sub(drained);
        let behind = if mark < offset.since { 0 } else { position.saturating_sub(by).min(most) };
        // Whatever moved: of its own, no more has drained than at all.
        let undrained = behind.max(charged.saturating_sub(drained));
        let given = charged.min(undrained).min(backlog);
        self.backlog = PackedU128::new(backlog - given);
        let is_last = position >= backlog + by;
        if is_last || given == 0 {
            return;
        }
        let most = product(MAX_LIMIT, rule.window().get());
        let offset = match by + given < most {
            true => ReceiptOffset { by: PackedU128::new(by + given), since: offset.since },
            false => ReceiptOffset { by: PackedU128::new(most), since: now.plus(Micros::new(1)) },
        };
        self.returned = Some(Box::new(Returned::Offset(offset)));
    }

    #[inline]
    pub(super) fn availability(&self, rule: &CheckedRule, _: Micros) -> Availability {
        let remaining = match self.returned.is_some() || rule.max_delay().is_some() {
            true => self.turns_left(rule),
            false => quotient(self.free(rule), rule.window().get()),
        };
        Availability { remaining, reset_after: self.drains_in(rule, 0) }
    }

    fn free(&self, rule: &CheckedRule) -> u128 {
        room(rule).saturating_sub(self.backlog.get())
    }

    /// Returns how many requests of cost 1 find room in one place, and have their turn soon enough: one request of
    /// that cost is allowed, too, which has no room in several freed slots.
    #[cold]
    fn turns_left(&self, rule: &CheckedRule) -> u64 {
        let backlog = self.backlog.get();
        let slots = if backlog <= room(rule) { self.freed_slots() } else { &[] };
        let in_slots = slots.iter().map(|slot| fit(rule, slot.from.get(), slot.len())).max();
        in_slots.unwrap_or(0).max(turns_behind(rule, backlog))
    }

    #[inline]
    pub(super) fn lifetime(&self, rule: &CheckedRule, _: Micros) -> Micros {
        // With an offset: until no receipt can name what is not drained.
        self.drains_in(rule, if self.outlives_reset() { room(rule) } else { 0 })
    }

    /// Returns for how long it matters by the rule that asked last; an offset is forgotten with the backlog.
    pub(super) fn left_by_itself(&self, now: Micros) -> Micros {
        let drains = Micros::new(quotient_ceil(self.backlog.get(), self.rate.max(1)));
        drains.since(now.since(self.at))
    }

    /// Returns how long it takes until the backlog, and that much behind it, has drained.
    #[inline]
    fn drains_in(&self, rule: &CheckedRule, behind: u128) -> Micros {
        let (wait, backlog) = self.within(rule);
        drain_time(backlog + behind, rule).plus(Micros::new(wait))
    }

    /// Returns whether the other kind of bucket remembers what was refunded.
    pub(super) fn is_returned_to_other(&self, algorithm: Algorithm) -> bool {
        match self.returned.as_deref() {
            None => false,
            Some(Returned::Offset(_)) => algorithm == Algorithm::LeakyBucket,
            Some(Returned::FreedSlots(_)) => algorithm != Algorithm::LeakyBucket,
        }
    }

    /// Returns whether it must be kept for longer than until all of the limit is free.
    #[inline]
    pub(super) fn outlives_reset(&self) -> bool {
        matches!(self.returned.as_deref(), Some(Returned::Offset(_)))
    }
}

/// Returns how many requests of cost 1 find room behind a position in the queue, and have their turn soon enough.
pub(crate) fn turns_behind(rule: &CheckedRule, position: u128) -> u64 {
    fit(rule, position, room(rule).saturating_sub(position))
}

/// Returns how many requests of cost 1 find so much room from a position on, and have their turn soon enough.
fn fit(rule: &CheckedRule, from: u128, room: u128) -> u64 {
    let window = rule.window().get();
    let fit = quotient(room, window);
    let Some(longest) = rule.max_delay() else { return fit };
    let left = product(longest.get(), rule.limit()).checked_sub(from);
    fit.min(left.map_or(0, |left| quotient(left, window).saturating_add(1)))
}

/// No rule lets so much in; somebody else may have written it.
const MOST: u128 = 1 << 120;

/// Returns B·W.
fn room(rule: &CheckedRule) -> u128 {
    product(rule.capacity(), rule.window().get())
}

/// Returns how long a backlog takes to drain, rounded up to the microsecond.
fn drain_time(backlog: u128, rule: &CheckedRule) -> Micros {
    Micros::new(quotient_ceil(backlog, rule.limit()))
}

/// Returns as many tokens in the unit of another window, rounded up.
fn rescaled(backlog: u128, from: Micros, to: Micros) -> u128 {
    if backlog == 0 || from == Micros::ZERO {
        return 0;
    }
    let (from, to) = (u128::from(from.get()), u128::from(to.get()));
    let (tokens, part) = (backlog / from, backlog % from);
    tokens.saturating_mul(to).saturating_add((part.saturating_mul(to)).div_ceil(from))
}
