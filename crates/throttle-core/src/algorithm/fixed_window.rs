//! The fixed window: N requests in each of the windows [kW, (k+1)W).

use super::answer::{Availability, Decided};
use crate::{receipt::Receipt, rule::checked::CheckedRule, time::Micros};

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct FixedWindow {
    pub(super) start: Micros,
    pub(super) used: u64,
    /// The window of the latest rule.
    pub(super) window: Micros,
}

impl FixedWindow {
    #[inline]
    pub(super) fn advance(&mut self, rule: &CheckedRule, now: Micros) {
        self.window = rule.window();
        if now < self.start {
            self.start = now; // the clock stepped back
        } else if self.used == 0 || now.since(self.start) >= rule.window() {
            // The window must not begin before the current start: after the clock has stepped back, no window starts
            // again.
            let start = aligned(now, rule.window()).max(self.start);
            *self = Self { start, used: 0, ..*self };
        }
    }

    pub(super) fn is_ahead(&self, now: Micros) -> bool {
        self.start > now
    }

    #[inline]
    pub(super) fn decide(&self, rule: &CheckedRule, now: Micros, cost: u64) -> Decided {
        if self.used.saturating_add(cost) <= rule.limit() {
            return Decided::Allowed { delay: Micros::ZERO };
        }
        let retry_after = Some(self.left(rule, now));
        Decided::Denied { retry_after, blocked: false }
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
        if receipt.is_none_or(|receipt| receipt.charged_at == self.start) {
            self.used = self.used.saturating_sub(cost);
        }
    }

    #[inline]
    pub(super) fn availability(&self, rule: &CheckedRule, now: Micros) -> Availability {
        let remaining = rule.limit().saturating_sub(self.used);
        Availability { remaining, reset_after: self.lifetime(rule, now) }
    }

    #[inline]
    pub(super) fn lifetime(&self, rule: &CheckedRule, now: Micros) -> Micros {
        if self.used == 0 { Micros::ZERO } else { self.left(rule, now) }
    }

    /// Returns the lifetime under the latest rule, without access to that rule.
    pub(super) fn left_by_itself(&self, now: Micros) -> Micros {
        if self.used == 0 { Micros::ZERO } else { ends_in(self.start, self.window, now) }
    }

    fn left(&self, rule: &CheckedRule, now: Micros) -> Micros {
        self.start.plus(rule.window()).since(now)
    }
}

/// Returns the time until a span from `start` ends, at most the span.
pub(super) fn ends_in(start: Micros, span: Micros, now: Micros) -> Micros {
    start.plus(span).since(now).min(span)
}

/// Returns the start of the window that contains `now`.
pub(super) fn aligned(now: Micros, window: Micros) -> Micros {
    Micros::new(now.get() - now.get() % window.get())
}
