//! The fixed window: N in each of the windows [kW, (k+1)W).

use super::answer::{Admission, Standing};
use crate::{receipt::Receipt, rule::checked::CheckedRule, time::Micros};

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct FixedWindow {
    pub(super) start: Micros,
    pub(super) used: u64,
}

impl FixedWindow {
    #[inline]
    pub(super) fn advance(&mut self, rule: &CheckedRule, now: Micros) {
        if now < self.start {
            self.start = now; // the clock stepped back
        } else if self.used == 0 || now.since(self.start) >= rule.window() {
            // Not to before the start: a clock that stepped back opens no window again.
            let start = aligned(now, rule.window()).max(self.start);
            *self = Self { start, used: 0 };
        }
    }

    pub(super) fn is_ahead(&self, now: Micros) -> bool {
        self.start > now
    }

    #[inline]
    pub(super) fn decide(&self, rule: &CheckedRule, now: Micros, cost: u64) -> Admission {
        if self.used.saturating_add(cost) <= rule.limit() {
            return Admission::Admitted { delay: Micros::ZERO };
        }
        let retry_after = Some(self.left(rule, now));
        Admission::Denied { retry_after, blocked: false }
    }

    #[inline]
    pub(super) fn charge(&mut self, _: &CheckedRule, _: Micros, cost: u64) -> Receipt {
        self.used = self.used.saturating_add(cost);
        Receipt::new(self.start, 0)
    }

    pub(super) fn refund(
        &mut self,
        _: &CheckedRule,
        _: Micros,
        cost: u64,
        receipt: Option<Receipt>,
    ) {
        if receipt.is_none_or(|receipt| receipt.mark == self.start) {
            self.used = self.used.saturating_sub(cost);
        }
    }

    #[inline]
    pub(super) fn standing(&self, rule: &CheckedRule, now: Micros) -> Standing {
        let remaining = rule.limit().saturating_sub(self.used);
        Standing { remaining, reset_after: self.lifetime(rule, now) }
    }

    #[inline]
    pub(super) fn lifetime(&self, rule: &CheckedRule, now: Micros) -> Micros {
        if self.used == 0 { Micros::ZERO } else { self.left(rule, now) }
    }

    fn left(&self, rule: &CheckedRule, now: Micros) -> Micros {
        self.start.plus(rule.window()).since(now)
    }
}

/// Returns the start of the window that `now` lies in.
pub(super) fn aligned(now: Micros, window: Micros) -> Micros {
    Micros::new(now.get() - now.get() % window.get())
}
