//! The model: a simple and slow implementation of the semantics.
//!
//! It keeps every allowed request, and computes every answer from all of them. Amounts are in W-ths of a request,
//! so that the arithmetic is exact. Waits are found by binary search.

use throttle_core::{Algorithm, CheckedRule, Decision};

/// The parts of a decision that a client sees; times in microseconds.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) allowed: bool,
    pub(crate) blocked: bool,
    pub(crate) limit: i128,
    pub(crate) remaining: i128,
    pub(crate) reset_after: i128,
    pub(crate) retry_after: Option<i128>,
    pub(crate) delay: i128,
}

impl From<&Decision> for Answer {
    fn from(decision: &Decision) -> Self {
        Self {
            allowed: decision.is_allowed(),
            blocked: decision.is_blocked(),
            limit: decision.limit().into(),
            remaining: decision.remaining().into(),
            reset_after: decision.reset_after().as_micros() as i128,
            retry_after: decision.retry_after().map(|wait| wait.as_micros() as i128),
            delay: decision.delay().as_micros() as i128,
        }
    }
}

/// The requests of one key under one rule.
pub(crate) struct Account {
    algorithm: Algorithm,
    n: i128,
    w: i128,
    capacity: i128,
    block: Option<i128>,
    /// The time and the cost of each allowed request.
    allowed: Vec<(i128, i128)>,
    blocked_until: Option<i128>,
}

impl Account {
    pub(crate) fn new(rule: &CheckedRule) -> Self {
        Self {
            algorithm: rule.algorithm(),
            n: rule.limit().into(),
            w: rule.window().get().into(),
            capacity: rule.capacity().into(),
            block: rule.block().map(|block| block.get().into()),
            allowed: Vec::new(),
            blocked_until: None,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.allowed.clear();
        self.blocked_until = None;
    }

    /// Undoes the last charge.
    pub(crate) fn undo(&mut self) {
        self.allowed.pop();
    }

    /// Returns the free amount at t, in W-ths of a request.
    fn free(&self, t: i128) -> i128 {
        match self.algorithm {
            Algorithm::FixedWindow => (self.n - self.charged_in_window(t / self.w)) * self.w,
            Algorithm::SlidingWindowCounter => {
                let (window, elapsed) = (t / self.w, t % self.w);
                let prev = self.charged_in_window(window - 1);
                let cur = self.charged_in_window(window);
                self.n * self.w - prev * (self.w - elapsed) - cur * self.w
            }
            Algorithm::SlidingWindowLog => {
                let counts = self.allowed.iter().filter(|(s, _)| t < s + self.w);
                (self.n - counts.map(|(_, cost)| cost).sum::<i128>()) * self.w
            }
            Algorithm::TokenBucket => self.tokens(t),
            Algorithm::LeakyBucket => self.capacity * self.w - self.backlog(t),
            other => panic!("the model does not implement {other}"),
        }
    }

    fn charged_in_window(&self, window: i128) -> i128 {
        let in_window = self.allowed.iter().filter(|(at, _)| at / self.w == window);
        in_window.map(|(_, cost)| cost).sum()
    }

    /// Returns the tokens at t, in W-ths: the bucket starts full, and N per W are refilled up to its capacity.
    fn tokens(&self, t: i128) -> i128 {
        let full = self.capacity * self.w;
        let (mut tokens, mut before) = (full, 0);
        for (at, cost) in &self.allowed {
            tokens = full.min(tokens + (at - before) * self.n) - cost * self.w;
            before = *at;
        }
        full.min(tokens + (t - before) * self.n)
    }

    /// Returns the requests in the queue at t, in W-ths.
    fn backlog(&self, t: i128) -> i128 {
        let (mut backlog, mut before) = (0, 0);
        for (at, cost) in &self.allowed {
            backlog = 0.max(backlog - (at - before) * self.n) + cost * self.w;
            before = *at;
        }
        0.max(backlog - (t - before) * self.n)
    }

    fn allows(&self, t: i128, cost: i128) -> bool {
        cost * self.w <= self.free(t)
    }

    fn remaining(&self, t: i128) -> i128 {
        0.max(self.free(t).div_euclid(self.w))
    }

    fn blocked_for(&self, t: i128) -> Option<i128> {
        self.blocked_until.map(|end| end - t).filter(|left| *left > 0)
    }

    /// Returns the shortest wait after which a monotonic condition holds.
    fn wait_until(&self, holds: impl Fn(i128) -> bool) -> i128 {
        if holds(0) {
            return 0;
        }
        let (mut not_yet, mut long) = (0, 2 * self.w + self.capacity * self.w / self.n + 1);
        assert!(holds(long), "everything is free after two windows and the time to fill a bucket");
        while long - not_yet > 1 {
            let middle = (not_yet + long) / 2;
            if holds(middle) {
                long = middle;
            } else {
                not_yet = middle;
            }
        }
        long
    }

    fn retry_after(&self, t: i128, cost: i128) -> Option<i128> {
        if cost > self.capacity {
            return None;
        }
        if let Some(left) = self.blocked_for(t) {
            return Some(left);
        }
        Some(self.wait_until(|wait| self.allows(t + wait, cost)))
    }

    fn reset_after(&self, t: i128) -> i128 {
        self.wait_until(|wait| self.remaining(t + wait) == self.capacity)
    }

    /// Returns the delay of a request at t until its scheduled time.
    fn delay(&self, t: i128) -> i128 {
        match self.algorithm {
            Algorithm::LeakyBucket => (self.backlog(t) + self.n - 1) / self.n,
            _ => 0,
        }
    }
}

/// Checks a request against all accounts, and charges all of them or none.
pub(crate) fn acquire(accounts: &mut [&mut Account], t: i128, cost: i128) -> Vec<Answer> {
    let allow = |one: &&mut Account| one.blocked_for(t).is_none() && one.allows(t, cost);
    let each: Vec<bool> = accounts.iter().map(allow).collect();
    let all = each.iter().all(|allows| *allows);
    let answer = |(account, allows): (&mut &mut Account, bool)| {
        let delay = if all { account.delay(t) } else { 0 };
        let retry_after = if allows { None } else { account.retry_after(t, cost) };
        if all {
            account.allowed.push((t, cost));
        }
        if let (None, Some(block), Some(wait)) =
            (account.blocked_for(t), account.block, retry_after)
        {
            account.blocked_until = Some(t + block.max(wait));
        }
        account.answer(t, allows, retry_after, delay)
    };
    accounts.iter_mut().zip(each).map(answer).collect()
}

/// Returns the answers of [`acquire`] without charging.
pub(crate) fn peek(accounts: &[&mut Account], t: i128, cost: i128) -> Vec<Answer> {
    let allow = |one: &&mut Account| one.blocked_for(t).is_none() && one.allows(t, cost);
    let all = accounts.iter().all(allow);
    let answer = |account: &&mut Account| {
        let allows = allow(account);
        let retry_after = if allows { None } else { account.retry_after(t, cost) };
        account.answer(t, allows, retry_after, if all { account.delay(t) } else { 0 })
    };
    accounts.iter().map(answer).collect()
}

impl Account {
    /// Returns the answer after a decision. While the key is blocked, the times are those until the end of the
    /// block.
    fn answer(&self, t: i128, allowed: bool, retry_after: Option<i128>, delay: i128) -> Answer {
        let blocked = self.blocked_for(t);
        Answer {
            allowed,
            blocked: blocked.is_some(),
            limit: self.capacity,
            remaining: if blocked.is_some() { 0 } else { self.remaining(t) },
            reset_after: blocked.unwrap_or_else(|| self.reset_after(t)),
            retry_after: retry_after.map(|wait| blocked.unwrap_or(wait)),
            delay,
        }
    }
}

/// Returns the most restrictive answer to a request; of equal ones the first.
pub(crate) fn most_restrictive(answers: &[Answer]) -> Answer {
    let denials = answers.iter().rev().filter(|answer| !answer.allowed);
    let longest = denials.max_by_key(|answer| answer.retry_after.unwrap_or(i128::MAX));
    let tightest = answers.iter().min_by_key(|answer| (answer.remaining, -answer.reset_after));
    *longest.or(tightest).expect("a request has a rule")
}
