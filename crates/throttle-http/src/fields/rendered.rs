//! The parts of the header fields that depend on the rules alone.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use throttle_core::{CheckedRule, Decision, Decisions, Micros};

use super::{
    parameters::{FIRST, FURTHER, MAX_INTEGER, QUOTA, QUOTA_UNIT, WINDOW},
    partition::PARTITION,
};
use crate::problem;

#[derive(Debug)]
pub(super) struct Rendered {
    rules: Vec<RenderedRule>,
    policy: Bytes,
    /// The longest value of `RateLimit`, in bytes.
    longest_limits: usize,
}

#[derive(Debug)]
struct RenderedRule {
    rule: Arc<CheckedRule>,
    /// Whether the rule limits requests in flight.
    concurrency: bool,
    /// `"api"`
    name: String,
    /// `"api";r=`
    opening: Box<[u8]>,
    limit: HeaderValue,
    /// The body of a rejection by this rule alone.
    problem: Bytes,
}

impl Rendered {
    pub(super) fn new(decisions: &Decisions) -> Self {
        let rules: Vec<_> = decisions.all().iter().map(RenderedRule::new).collect();
        let policies: Vec<_> = rules.iter().map(RenderedRule::policy).collect();
        const NUMBER: usize = "999999999999999".len();
        let further = FURTHER.iter().map(|(parameter, _)| parameter.0.len() + NUMBER);
        let rest = NUMBER + further.sum::<usize>() + ", ".len();
        let longest_limits = rules.iter().map(|rule| rule.opening.len() + rest).sum();
        Self { policy: policies.join(", ").into(), rules, longest_limits }
    }

    /// Returns whether the decisions were made by exactly these rules.
    pub(super) fn is_of(&self, decisions: &Decisions) -> bool {
        let all = decisions.all();
        self.rules.len() == all.len()
            && self
                .rules
                .iter()
                .zip(all)
                .all(|(one, other)| Arc::ptr_eq(&one.rule, other.checked_rule()))
    }

    /// Returns `"api";q=100;w=60, …`
    pub(super) fn policy(&self) -> Bytes {
        self.policy.clone()
    }

    /// Returns `"api";q=100;w=60;pk=:…:, …`
    pub(super) fn policy_of(&self, partition: &[u8]) -> Bytes {
        let policies: Vec<_> =
            self.rules.iter().map(|rule| [rule.policy().as_bytes(), partition].concat()).collect();
        policies.join(&b", "[..]).into()
    }

    /// Returns `"api";r=42;t=18, …`, each with the partition key.
    pub(super) fn limits(&self, decisions: &Decisions, partition: &[u8]) -> Bytes {
        // A buffer on the stack, so that the value itself is the only allocation.
        const USUAL: usize = 128;
        if self.longest_limits <= USUAL && partition.is_empty() {
            return self.limits_in(&mut [0; USUAL], decisions, partition);
        }
        let longest = self.longest_limits + self.rules.len() * PARTITION;
        self.limits_in(&mut vec![0; longest], decisions, partition)
    }

    #[inline]
    fn limits_in(&self, buffer: &mut [u8], decisions: &Decisions, partition: &[u8]) -> Bytes {
        let mut text = Backwards::new(buffer);
        for (rule, decision) in self.rules.iter().zip(decisions.all()).rev() {
            if text.is_begun() {
                text.push(b", ");
            }
            text.push(partition);
            for (parameter, value) in FURTHER.iter().rev() {
                if let Some(number) = value(decision, decisions) {
                    text.push_number(number.min(MAX_INTEGER));
                    text.push(parameter.0.as_bytes());
                }
            }
            text.push_number((FIRST.1)(decision).min(MAX_INTEGER));
            text.push(&rule.opening);
        }
        Bytes::copy_from_slice(text.as_bytes())
    }

    /// Returns the limit of the most restrictive rule.
    pub(super) fn limit(&self, decisions: &Decisions) -> HeaderValue {
        let most_restrictive = decisions.most_restrictive().checked_rule();
        let rule = self.rules.iter().find(|one| Arc::ptr_eq(&one.rule, most_restrictive));
        rule.map_or_else(|| number(most_restrictive.capacity()), |rule| rule.limit.clone())
    }

    /// Returns the body of a rejection.
    pub(super) fn problem(&self, decisions: &Decisions) -> Bytes {
        let denied = || decisions.all().iter().filter(|one| !one.is_allowed());
        let alone = (denied().count() == 1).then(|| decisions.most_restrictive().checked_rule());
        match self.rules.iter().find(|one| alone.is_some_and(|rule| Arc::ptr_eq(&one.rule, rule))) {
            Some(rule) => rule.problem.clone(),
            None => problem::quota_exceeded(denied().map(|one| one.rule())),
        }
    }
}

impl RenderedRule {
    fn new(decision: &Decision) -> Self {
        let rule = decision.checked_rule();
        let name = quoted(rule.name());
        Self {
            opening: [&name, FIRST.0.0].concat().into_bytes().into(),
            name,
            concurrency: decision.is_concurrency(),
            limit: number(rule.capacity()),
            problem: problem::quota_exceeded([rule.name()]),
            rule: Arc::clone(rule),
        }
    }

    fn policy(&self) -> String {
        let (name, quota) = (&self.name, self.rule.capacity());
        let policy = format!("{name}{}{quota}", QUOTA.0);
        if self.concurrency {
            return format!("{policy}{}\"concurrent-requests\"", QUOTA_UNIT.0);
        }
        match restored_in(&self.rule) {
            restored if restored < Micros::new(1_000_000) => policy,
            restored => format!("{policy}{}{}", WINDOW.0, restored.as_secs_ceil()),
        }
    }
}

/// Returns the time in which all requests that are allowed at once are available again: B·W / N.
fn restored_in(rule: &CheckedRule) -> Micros {
    let whole = u128::from(rule.capacity()) * u128::from(rule.window().get());
    let micros = whole.div_ceil(u128::from(rule.limit()));
    Micros::new(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Returns a string of a structured field (RFC 9651, section 4.1.6). Names are printable ASCII.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Returns a number as a header value, with one allocation.
pub(super) fn number(number: u64) -> HeaderValue {
    let mut buffer = [0; 20];
    let mut text = Backwards::new(&mut buffer);
    text.push_number(number);
    value(text.as_bytes())
}

/// A buffer that is filled from its end, so that a number is written without counting its digits first.
struct Backwards<'a> {
    buffer: &'a mut [u8],
    start: usize,
}

impl<'a> Backwards<'a> {
    fn new(buffer: &'a mut [u8]) -> Self {
        Self { start: buffer.len(), buffer }
    }

    fn is_begun(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// Puts text in front of the existing text; ignores text that does not fit.
    #[inline]
    fn push(&mut self, text: &[u8]) {
        let Some(start) = self.start.checked_sub(text.len()) else { return };
        if let Some(free) = self.buffer.get_mut(start..self.start) {
            free.copy_from_slice(text);
            self.start = start;
        }
    }

    #[inline]
    fn push_number(&mut self, mut number: u64) {
        let free = self.buffer.get_mut(..self.start).unwrap_or_default();
        for digit in free.iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            self.start -= 1;
            number /= 10;
            if number == 0 {
                return;
            }
        }
    }

    #[inline]
    fn as_bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

fn value(text: &[u8]) -> HeaderValue {
    // Names are printable ASCII, and everything else is digits and punctuation.
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
