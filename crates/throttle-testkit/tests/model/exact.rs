//! The model: what semantics say, written down again with no eye on speed.
//!
//! Every admitted request is kept, and every answer is worked out from all of them. Amounts are in
//! W-ths of a request, so that all of it is exact; waits are found by trying moments.

use throttle_core::{Algorithm, CheckedRule, Decision};

/// What a decision says, as far as a client sees it; times in microseconds.
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

/// One key under one rule.
pub(crate) struct Account {
    algorithm: Algorithm,
    n: i128,
    w: i128,
    capacity: i128,
    block: Option<i128>,
    /// When each admitted request came, and what it cost.
    admitted: Vec<(i128, i128)>,
    shut_until: Option<i128>,
}

impl Account {
    pub(crate) fn new(rule: &CheckedRule) -> Self {
        Self {
            algorithm: rule.algorithm(),
            n: rule.limit().into(),
            w: rule.window().get().into(),
            capacity: rule.capacity().into(),
            block: rule.block().map(|block| block.get().into()),
            admitted: Vec::new(),
            shut_until: None,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.admitted.clear();
        self.shut_until = None;
    }

    /// Undoes the charge that was made last.
    pub(crate) fn undo(&mut self) {
        self.admitted.pop();
    }

    /// Returns how many W-ths of a request are free at t.
    fn free(&self, t: i128) -> i128 {
        match self.algorithm {
            Algorithm::FixedWindow => (self.n - self.charged_in_window(t / self.w)) * self.w,
            Algorithm::SlidingWindowCounter => {
                let (window, gone) = (t / self.w, t % self.w);
                let prev = self.charged_in_window(window - 1);
                let cur = self.charged_in_window(window);
                self.n * self.w - prev * (self.w - gone) - cur * self.w
            }
            Algorithm::SlidingWindowLog => {
                let counts = self.admitted.iter().filter(|(s, _)| t < s + self.w);
                (self.n - counts.map(|(_, cost)| cost).sum::<i128>()) * self.w
            }
            Algorithm::TokenBucket => self.tokens(t),
            Algorithm::LeakyBucket => self.capacity * self.w - self.backlog(t),
            other => panic!("no exact model of {other}"),
        }
    }

    fn charged_in_window(&self, window: i128) -> i128 {
        let within = self.admitted.iter().filter(|(at, _)| at / self.w == window);
        within.map(|(_, cost)| cost).sum()
    }

    /// Returns the W-ths of tokens at t: it starts full, and N in W come back until it is full.
    fn tokens(&self, t: i128) -> i128 {
        let full = self.capacity * self.w;
        let (mut tokens, mut before) = (full, 0);
        for (at, cost) in &self.admitted {
            tokens = full.min(tokens + (at - before) * self.n) - cost * self.w;
            before = *at;
        }
        full.min(tokens + (t - before) * self.n)
    }

    /// Returns the W-ths of requests that stand in the queue at t.
    fn backlog(&self, t: i128) -> i128 {
        let (mut backlog, mut before) = (0, 0);
        for (at, cost) in &self.admitted {
            backlog = 0.max(backlog - (at - before) * self.n) + cost * self.w;
            before = *at;
        }
        0.max(backlog - (t - before) * self.n)
    }

    fn admits(&self, t: i128, cost: i128) -> bool {
        cost * self.w <= self.free(t)
    }

    fn remaining(&self, t: i128) -> i128 {
        0.max(self.free(t).div_euclid(self.w))
    }

    fn shut_for(&self, t: i128) -> Option<i128> {
        self.shut_until.map(|end| end - t).filter(|left| *left > 0)
    }

    /// Returns the shortest wait after which something is so that then stays so.
    fn wait_until(&self, is_so: impl Fn(i128) -> bool) -> i128 {
        if is_so(0) {
            return 0;
        }
        let (mut not_yet, mut long) = (0, 2 * self.w + self.capacity * self.w / self.n + 1);
        assert!(is_so(long), "in two windows, and a full bucket's time, all is free again");
        while long - not_yet > 1 {
            let middle = (not_yet + long) / 2;
            if is_so(middle) {
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
        if let Some(left) = self.shut_for(t) {
            return Some(left);
        }
        Some(self.wait_until(|wait| self.admits(t + wait, cost)))
    }

    fn reset_after(&self, t: i128) -> i128 {
        self.wait_until(|wait| self.remaining(t + wait) == self.capacity)
    }

    /// Returns how long the turn of a request is away that comes at t.
    fn delay(&self, t: i128) -> i128 {
        match self.algorithm {
            Algorithm::LeakyBucket => (self.backlog(t) + self.n - 1) / self.n,
            _ => 0,
        }
    }
}

/// Asks all accounts for one request, and charges all of them or none.
pub(crate) fn acquire(accounts: &mut [&mut Account], t: i128, cost: i128) -> Vec<Answer> {
    let admit = |one: &&mut Account| one.shut_for(t).is_none() && one.admits(t, cost);
    let each: Vec<bool> = accounts.iter().map(admit).collect();
    let all = each.iter().all(|admits| *admits);
    let answer = |(account, admits): (&mut &mut Account, bool)| {
        let delay = if all { account.delay(t) } else { 0 };
        let retry_after = if admits { None } else { account.retry_after(t, cost) };
        if all {
            account.admitted.push((t, cost));
        }
        if let (None, Some(block), Some(wait)) = (account.shut_for(t), account.block, retry_after) {
            account.shut_until = Some(t + block.max(wait));
        }
        account.answer(t, admits, retry_after, delay)
    };
    accounts.iter_mut().zip(each).map(answer).collect()
}

/// Answers as [`acquire`] would, and leaves all as it is.
pub(crate) fn peek(accounts: &[&mut Account], t: i128, cost: i128) -> Vec<Answer> {
    let admit = |one: &&mut Account| one.shut_for(t).is_none() && one.admits(t, cost);
    let all = accounts.iter().all(admit);
    let answer = |account: &&mut Account| {
        let admits = admit(account);
        let retry_after = if admits { None } else { account.retry_after(t, cost) };
        account.answer(t, admits, retry_after, if all { account.delay(t) } else { 0 })
    };
    accounts.iter().map(answer).collect()
}

impl Account {
    /// Says where the key stands after a decision; while it is shut, that is until it opens.
    fn answer(&self, t: i128, allowed: bool, retry_after: Option<i128>, delay: i128) -> Answer {
        let shut = self.shut_for(t);
        Answer {
            allowed,
            blocked: shut.is_some(),
            limit: self.capacity,
            remaining: if shut.is_some() { 0 } else { self.remaining(t) },
            reset_after: shut.unwrap_or_else(|| self.reset_after(t)),
            retry_after: retry_after.map(|wait| shut.unwrap_or(wait)),
            delay,
        }
    }
}

/// Returns the answer that is to be told of a whole request; of equals the first.
pub(crate) fn told(answers: &[Answer]) -> Answer {
    let denials = answers.iter().rev().filter(|answer| !answer.allowed);
    let longest = denials.max_by_key(|answer| answer.retry_after.unwrap_or(i128::MAX));
    let tightest = answers.iter().min_by_key(|answer| (answer.remaining, -answer.reset_after));
    *longest.or(tightest).expect("there is a rule")
}
