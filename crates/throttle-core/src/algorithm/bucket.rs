//! The token bucket and the leaky bucket: one backlog, read from two sides.
//!
//! A request of cost c adds `c·W` to the backlog, which drains by N each microsecond; B·W is the most
//! it holds. The token bucket calls the room that is left tokens; the leaky bucket calls the backlog
//! a queue, and the time it takes to drain the wait for one's turn. Its unit, tokens × W, keeps every
//! fraction whole, and a limit that is replaced keeps the tokens that are taken.

use super::{Admission, Standing, Wide, product, quotient, quotient_ceil};
use crate::{Algorithm, CheckedRule, Micros, Receipt};

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Bucket {
    pub(super) backlog: Wide,
    pub(super) at: Micros,
    /// The window in whose unit the backlog is.
    pub(super) window: Micros,
}

impl Bucket {
    #[inline]
    pub(super) fn advance(&mut self, rule: &CheckedRule, now: Micros) {
        if self.window != rule.window() {
            let backlog = rescaled(self.backlog.get(), self.window, rule.window());
            self.backlog = Wide::new(backlog);
            self.window = rule.window();
        }
        let drained = product(now.since(self.at).get(), rule.limit());
        let backlog = self.backlog.get().saturating_sub(drained).min(room(rule));
        self.backlog = Wide::new(backlog);
        self.at = now; // also when the clock stepped back: nothing drained, nothing lost
    }

    pub(super) fn is_ahead(&self, now: Micros) -> bool {
        self.at > now
    }

    #[inline]
    pub(super) fn decide(&self, rule: &CheckedRule, _: Micros, cost: u64) -> Admission {
        let asked = self.backlog.get() + product(cost, rule.window().get());
        let over = asked.saturating_sub(room(rule));
        if over > 0 {
            let retry_after = Some(drain_time(over, rule));
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
            let drained = product(now.since(receipt.mark).get(), rule.limit());
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
        drain_time(self.backlog.get(), rule)
    }
}

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
