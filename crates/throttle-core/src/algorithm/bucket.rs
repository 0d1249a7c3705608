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

use super::{Admission, Standing, Wide, product, quotient, quotient_ceil};
use crate::{Algorithm, CheckedRule, MAX_LIMIT, Micros, Receipt};

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Bucket {
    pub(super) backlog: Wide,
    pub(super) at: Micros,
    /// The window in whose unit the backlog is.
    pub(super) window: Micros,
    /// By how much what is beyond the room drains in a microsecond: N of the latest rule that had room for
    /// all of it.
    pub(super) rate: u64,
}

impl Bucket {
    #[inline]
    pub(super) fn advance(&mut self, rule: &CheckedRule, now: Micros) {
        if self.window != rule.window() {
            self.rescale(rule.window());
        }
        let since = now.since(self.at).get();
        self.at = now; // also when the clock stepped back: nothing drained, nothing lost
        let backlog = self.backlog.get();
        if backlog > room(rule) {
            self.drain_beyond(rule, since);
            return;
        }
        self.backlog = Wide::new(backlog.saturating_sub(product(since, rule.limit())));
        self.rate = rule.limit();
    }

    #[cold]
    fn rescale(&mut self, window: Micros) {
        let backlog = rescaled(self.backlog.get(), self.window, window);
        self.backlog = Wide::new(backlog.min(MOST));
        if self.window != Micros::ZERO {
            let rate = quotient(product(self.rate, window.get()), self.window.get());
            self.rate = rate.min(MAX_LIMIT); // products still fit
        }
        self.window = window;
    }

    #[cold]
    fn drain_beyond(&mut self, rule: &CheckedRule, since: u64) {
        let (wait, within) = self.within(rule);
        if since < wait {
            let drained = product(since, self.rate_of(rule));
            self.backlog = Wide::new(self.backlog.get().saturating_sub(drained));
            return;
        }
        self.backlog = Wide::new(within.saturating_sub(product(since - wait, rule.limit())));
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
    pub(super) fn decide(&self, rule: &CheckedRule, _: Micros, cost: u64) -> Admission {
        let (wait, backlog) = self.within(rule);
        let over = (backlog + product(cost, rule.window().get())).saturating_sub(room(rule));
        if over > 0 || wait > 0 {
            let retry_after = Some(drain_time(over, rule).plus(Micros::new(wait)));
            return Admission::Denied { retry_after, blocked: false };
        }
        let shapes = rule.algorithm() == Algorithm::LeakyBucket;
        let delay = if shapes { drain_time(self.backlog.get(), rule) } else { Micros::ZERO };
        Admission::Admitted { delay }
    }

    #[inline]
    pub(super) fn charge(&mut self, rule: &CheckedRule, now: Micros, cost: u64) -> Receipt {
        let backlog = self.backlog.get() + product(cost, rule.window().get());
        self.backlog = Wide::new(backlog);
        Receipt::new(now, backlog)
    }

    /// Gives back what has not drained yet of the charge: it stood at the end of the queue, so that
    /// it is the last to drain of the backlog that its receipt names.
    pub(super) fn refund(
        &mut self,
        rule: &CheckedRule,
        now: Micros,
        cost: u64,
        receipt: Option<Receipt>,
    ) {
        let undrained = receipt.map_or(u128::MAX, |receipt| {
            let drained = product(now.since(receipt.mark).get(), self.rate_of(rule));
            receipt.level().saturating_sub(drained)
        });
        let charged = product(cost, rule.window().get());
        self.backlog = Wide::new(self.backlog.get().saturating_sub(charged.min(undrained)));
    }

    #[inline]
    pub(super) fn standing(&self, rule: &CheckedRule, now: Micros) -> Standing {
        let free = room(rule).saturating_sub(self.backlog.get());
        let remaining = quotient(free, rule.window().get());
        Standing { remaining, reset_after: self.lifetime(rule, now) }
    }

    #[inline]
    pub(super) fn lifetime(&self, rule: &CheckedRule, _: Micros) -> Micros {
        let (wait, backlog) = self.within(rule);
        drain_time(backlog, rule).plus(Micros::new(wait))
    }
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
