//! The sliding window log: a request at the time s counts while t < s + W.

use std::collections::VecDeque;

use super::{
    answer::{Availability, Decided},
    fixed_window::ends_in,
};
use crate::{receipt::Receipt, rule::checked::CheckedRule, time::Micros};

#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct SlidingLog {
    /// The times of charges, oldest first, each with the cost.
    pub(super) entries: VecDeque<(Micros, u64)>,
    pub(super) sum: u64,
    /// The window of the latest rule.
    pub(super) window: Micros,
}

impl SlidingLog {
    #[inline]
    pub(super) fn advance(&mut self, rule: &CheckedRule, now: Micros) {
        if let Some(ahead) = self.newest().map(|newest| newest.since(now))
            && ahead > Micros::ZERO
        {
            for (at, _) in &mut self.entries {
                *at = at.since(ahead); // the clock stepped back
            }
        }
        while let Some(&(at, cost)) = self.entries.front()
            && now.since(at) >= rule.window()
        {
            self.entries.pop_front();
            self.sum = self.sum.saturating_sub(cost);
        }
        if self.entries.is_empty() {
            *self = Self::default(); // frees the memory as well
        }
        self.window = rule.window();
    }

    pub(super) fn is_ahead(&self, now: Micros) -> bool {
        self.newest().is_some_and(|newest| newest > now)
    }

    #[inline]
    pub(super) fn decide(&self, rule: &CheckedRule, now: Micros, cost: u64) -> Decided {
        let with_cost = self.sum.saturating_add(cost);
        if with_cost <= rule.limit() {
            return Decided::Allowed { delay: Micros::ZERO };
        }
        let mut over = with_cost - rule.limit();
        let freed_by = self.entries.iter().find(|(_, cost)| {
            let enough = *cost >= over;
            over = over.saturating_sub(*cost);
            enough
        });
        let retry_after = freed_by.map(|(at, _)| at.plus(rule.window()).since(now));
        Decided::Denied { retry_after, blocked: false }
    }

    #[inline]
    pub(super) fn charge(&mut self, _: &CheckedRule, now: Micros, cost: u64) -> Receipt {
        match self.entries.back_mut() {
            Some((at, charged)) if *at == now => *charged = charged.saturating_add(cost),
            _ => self.entries.push_back((now, cost)),
        }
        self.sum = self.sum.saturating_add(cost);
        Receipt::new(now, 0)
    }

    pub(super) fn refund(
        &mut self,
        _: &CheckedRule,
        _: Micros,
        cost: u64,
        receipt: Option<Receipt>,
    ) {
        match receipt {
            Some(receipt) => {
                if let Ok(index) =
                    self.entries.binary_search_by_key(&receipt.charged_at, |(at, _)| *at)
                {
                    self.take(index, cost);
                }
            }
            None => {
                let mut cost = cost;
                while cost > 0 && !self.entries.is_empty() {
                    cost -= self.take(self.entries.len() - 1, cost);
                }
            }
        }
    }

    #[inline]
    pub(super) fn availability(&self, rule: &CheckedRule, now: Micros) -> Availability {
        let remaining = rule.limit().saturating_sub(self.sum);
        Availability { remaining, reset_after: self.lifetime(rule, now) }
    }

    #[inline]
    pub(super) fn lifetime(&self, rule: &CheckedRule, now: Micros) -> Micros {
        self.newest().map_or(Micros::ZERO, |newest| newest.plus(rule.window()).since(now))
    }

    /// Returns the lifetime under the latest rule, without access to that rule.
    pub(super) fn left_by_itself(&self, now: Micros) -> Micros {
        self.newest().map_or(Micros::ZERO, |newest| ends_in(newest, self.window, now))
    }

    fn newest(&self) -> Option<Micros> {
        self.entries.back().map(|(at, _)| *at)
    }

    /// Subtracts up to `cost` from an entry, and returns the difference.
    fn take(&mut self, index: usize, cost: u64) -> u64 {
        let Some((_, charged)) = self.entries.get_mut(index) else {
            return cost;
        };
        let taken = cost.min(*charged);
        *charged -= taken;
        self.sum = self.sum.saturating_sub(taken);
        if *charged == 0 {
            self.entries.remove(index);
        }
        taken
    }
}
