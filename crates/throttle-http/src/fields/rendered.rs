//! What does not change while the rules of a request stay the same.

use std::{
    io::{self, Write},
    sync::Arc,
};

use bytes::Bytes;
use http::HeaderValue;
use throttle_core::{CheckedRule, Decisions, Micros};

use super::wait_secs;
use crate::problem;

/// The greatest integer of a structured field (RFC 9651, section 3.3.1).
const MAX_INTEGER: u64 = 999_999_999_999_999;

#[derive(Debug)]
pub(super) struct Rendered {
    rules: Vec<RenderedRule>,
    policy: HeaderValue,
}

#[derive(Debug)]
struct RenderedRule {
    rule: Arc<CheckedRule>,
    /// `"api"`
    name: String,
    limit: HeaderValue,
    /// The body of a refusal by this rule alone.
    problem: Bytes,
}

impl Rendered {
    pub(super) fn new(decisions: &Decisions) -> Self {
        let rules: Vec<_> =
            decisions.all().iter().map(|one| one.checked_rule()).map(RenderedRule::new).collect();
        let policies: Vec<_> = rules.iter().map(RenderedRule::policy).collect();
        Self { policy: value(policies.join(", ").as_bytes()), rules }
    }

    /// Returns whether these are the rules of the decisions, as they were then.
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
    pub(super) fn policy(&self) -> HeaderValue {
        self.policy.clone()
    }

    /// Returns `"api";r=42;t=18, …`
    pub(super) fn limits(&self, decisions: &Decisions) -> HeaderValue {
        // On the stack where it fits, so that the value is the one allocation.
        let mut buffer = [0; 256];
        let mut rest = &mut buffer[..];
        if self.write_limits(&mut rest, decisions).is_ok() {
            let written = 256 - rest.len();
            return value(buffer.get(..written).unwrap_or_default());
        }
        let mut text = Vec::with_capacity(1024);
        let _ = self.write_limits(&mut text, decisions); // a Vec takes every write
        value(&text)
    }

    fn write_limits(&self, out: &mut impl Write, decisions: &Decisions) -> io::Result<()> {
        let mut number = itoa::Buffer::new();
        for (i, (rule, decision)) in self.rules.iter().zip(decisions.all()).enumerate() {
            if i > 0 {
                out.write_all(b", ")?;
            }
            out.write_all(rule.name.as_bytes())?;
            out.write_all(b";r=")?;
            out.write_all(number.format(decision.remaining().min(MAX_INTEGER)).as_bytes())?;
            if let Some(secs) = wait_secs(decision, decisions.is_allowed()) {
                out.write_all(b";t=")?;
                out.write_all(number.format(secs.min(MAX_INTEGER)).as_bytes())?;
            }
        }
        Ok(())
    }

    /// Returns the limit of the rule that is reported.
    pub(super) fn limit(&self, decisions: &Decisions) -> HeaderValue {
        let reported = decisions.reported().checked_rule();
        let rule = self.rules.iter().find(|one| Arc::ptr_eq(&one.rule, reported));
        rule.map_or_else(|| HeaderValue::from(reported.capacity()), |rule| rule.limit.clone())
    }

    /// Returns the body of a refusal.
    pub(super) fn problem(&self, decisions: &Decisions) -> Bytes {
        let denied = || decisions.all().iter().filter(|one| !one.is_allowed());
        let alone = (denied().count() == 1).then(|| decisions.reported().checked_rule());
        match self.rules.iter().find(|one| alone.is_some_and(|rule| Arc::ptr_eq(&one.rule, rule))) {
            Some(rule) => rule.problem.clone(),
            None => problem::quota_exceeded(denied().map(|one| one.rule())),
        }
    }
}

impl RenderedRule {
    fn new(rule: &Arc<CheckedRule>) -> Self {
        Self {
            name: quoted(rule.name()),
            limit: HeaderValue::from(rule.capacity()),
            problem: problem::quota_exceeded([rule.name()]),
            rule: Arc::clone(rule),
        }
    }

    fn policy(&self) -> String {
        let (name, quota) = (&self.name, self.rule.capacity());
        match restored_in(&self.rule) {
            restored if restored < Micros::new(1_000_000) => format!("{name};q={quota}"),
            restored => format!("{name};q={quota};w={}", restored.as_secs_ceil()),
        }
    }
}

/// Returns in how much time all that can be spent at once is back: B·W / N.
fn restored_in(rule: &CheckedRule) -> Micros {
    let whole = u128::from(rule.capacity()) * u128::from(rule.window().get());
    let micros = whole.div_ceil(u128::from(rule.limit()));
    Micros::new(u64::try_from(micros).unwrap_or(u64::MAX))
}

/// Returns a string of a structured field (RFC 9651, section 4.1.6); names are printable ASCII.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

fn value(text: &[u8]) -> HeaderValue {
    // Names are printable ASCII, and all else is digits and punctuation.
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}
