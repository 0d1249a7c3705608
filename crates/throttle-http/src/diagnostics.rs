//! Warnings about a configuration that is probably wrong. They are logged at startup and for the first
//! requests, one line for each.
//!
//! Only the first requests are read, so that later ones cost a single atomic load.

use std::{
    mem::{Discriminant, discriminant},
    net::IpAddr,
    sync::{
        Arc, Mutex, Once, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use throttle_core::{Algorithm, CheckedRule, Decision, Decisions, Key, Limiter, Scope};

use crate::{
    config_warning::{ConfigWarning, KEYLESS, ProxyField, RequestSample, SAMPLES, SHORT_LIVED},
    head::RequestHead,
    identity::{ExtractKey, ForwardedHeader},
};

/// The number of consecutive requests that seem to be charged twice before a warning is logged.
const REPEATS: u32 = 8;

/// The state of the warnings about the first requests.
#[derive(Debug)]
pub(crate) struct Diagnostics {
    samples_left: AtomicU32,
    keyless: AtomicU32,
    /// The kinds of warnings of the key that were logged.
    logged: Mutex<Vec<Discriminant<ConfigWarning>>>,
    whole_ipv6: Once,
}

impl Diagnostics {
    /// Checks the configuration of the key.
    pub(crate) fn new(key: &Arc<dyn ExtractKey>) -> Self {
        if let Some(warning) = key.warning(None) {
            warning.log();
        }
        Self {
            samples_left: AtomicU32::new(SAMPLES),
            keyless: AtomicU32::new(0),
            logged: Mutex::default(),
            whole_ipv6: Once::new(),
        }
    }

    /// Counts a request for which the key function returned no key.
    pub(crate) fn record_missing_key(&self) {
        let no_key_so_far = self.samples_left.load(Relaxed) == SAMPLES;
        if no_key_so_far && self.keyless.fetch_add(1, Relaxed) == KEYLESS - 1 {
            ConfigWarning::KeyNeverFound.log();
        }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.samples_left.load(Relaxed) != 0
    }

    /// Reads the parts of a request that [`inspect`](Self::inspect) needs when the key is known.
    #[cold]
    pub(crate) fn sample(head: &RequestHead<'_>) -> RequestSample<'static> {
        let fields = ForwardedHeader::ALL.map(|field| ProxyField {
            name: field.name(),
            ends_in_address: field.last_hop(head.headers()).map(|hop| hop.is_some()),
        });
        RequestSample::new(head.peer(), fields)
    }

    /// Inspects a request, and logs a warning of each kind once.
    #[cold]
    pub(crate) fn inspect(
        &self,
        limiter: &Limiter,
        by: &dyn ExtractKey,
        sample: &RequestSample<'_>,
    ) {
        // Not a read-modify-write operation: if two requests race, one more request is inspected.
        let left = self.samples_left.load(Relaxed);
        self.samples_left.store(left.saturating_sub(1), Relaxed);
        // Only now, because other layers of the limiter may be built after this one.
        if left == 1
            && let Some(rule) = limiter.take_unapplied_rule()
        {
            ConfigWarning::RuleNeverApplied(rule).log();
        }
        if let Some(warning) = by.warning(Some(sample)) {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            let kind = discriminant(&warning);
            if !logged.contains(&kind) {
                logged.push(kind);
                warning.log();
            }
        }
        if let Some(peer @ IpAddr::V6(_)) = sample.peer()
            && sample.has_in_key(&Key::from(peer))
        {
            self.whole_ipv6.call_once(|| ConfigWarning::WholeIpv6(peer).log());
        }
    }
}

/// Warns about rules that apply to all requests and cannot work with the cost or the shaping of the options.
pub(crate) fn warn_about_rules(rules: &[Arc<CheckedRule>], cost: Option<u64>, shapes: bool) {
    let is_queue = |rule: &Arc<CheckedRule>| rule.algorithm() == Algorithm::LeakyBucket;
    if shapes && !rules.iter().any(is_queue) {
        ConfigWarning::NoLeakyBucket.log();
    }
    let Some(cost) = cost else { return };
    if let Some(rule) = rules.iter().find(|rule| cost > rule.capacity()) {
        let (rule, most) = (rule.name().to_owned(), rule.capacity());
        ConfigWarning::TooCostly { rule, cost, most }.log();
    }
}

/// Warns about limiters that are dropped after one request, with all of their counts.
pub(crate) fn warn_about_dropped_limiter(limiter: &Limiter) {
    static DROPPED: AtomicU32 = AtomicU32::new(0);
    if limiter.storage().scope() == Scope::Process
        && limiter.metrics().total == 1
        && DROPPED.fetch_add(1, Relaxed) == SHORT_LIVED - 1
    {
        ConfigWarning::LimiterPerRequest.log();
    }
}

/// Warns if two nested layers charge the same rule for the same key.
///
/// The layers may have separate limiters of one storage: equal rules then share their counts.
///
/// Layers with different keys may share a rule; their counts are then unrelated. With the same key, the
/// remaining requests of the inner layer are always the remaining requests of the outer layer minus the
/// cost. If this is the case several times in a row, it is not a coincidence.
#[cold]
pub(crate) fn warn_if_nested(outer: &Decisions, inner: &Decisions) {
    static IN_A_ROW: AtomicU32 = AtomicU32::new(0);
    static LOGGED: Once = Once::new();
    for inner in inner.all().iter().filter(|inner| counts(inner)) {
        let rule = inner.checked_rule();
        let is_same = |outer: &&Decision| {
            Arc::ptr_eq(outer.checked_rule(), rule) || outer.checked_rule() == rule
        };
        let Some(outer) = outer.all().iter().filter(|outer| counts(outer)).find(is_same) else {
            continue;
        };
        if outer.remaining() != inner.remaining() + inner.cost() {
            IN_A_ROW.store(0, Relaxed);
        } else if IN_A_ROW.fetch_add(1, Relaxed) >= REPEATS - 1 {
            LOGGED.call_once(|| ConfigWarning::CountedTwice(inner.rule().to_owned()).log());
        }
    }
}

fn counts(decision: &Decision) -> bool {
    decision.is_allowed() && decision.listed().is_none() && !decision.is_concurrency()
}
