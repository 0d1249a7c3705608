//! Warnings about a configuration that looks wrong, when a service starts and by its first requests: a line of
//! the log for each, which says what to do.
//!
//! Only the first requests are read, so that later ones pay for one load of a number.

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
    config_warning::{ConfigWarning, KEYLESS, ProxyField, RequestSample, SHORT_LIVED},
    head::RequestHead,
    identity::{ExtractKey, ForwardedHeader},
};

/// How many requests are read.
const LOOKS: u32 = 1000;
/// How many requests in a row that seem to be charged twice are.
const NO_CHANCE: u32 = 8;

/// Looks at the first requests.
#[derive(Debug)]
pub(crate) struct Diagnostics {
    looks: AtomicU32,
    keyless: AtomicU32,
    /// The kinds of warnings that the key has given.
    of_key: Mutex<Vec<Discriminant<ConfigWarning>>>,
    whole_ipv6: Once,
}

impl Diagnostics {
    /// Looks at what was configured.
    pub(crate) fn new(key: &Arc<dyn ExtractKey>) -> Self {
        if let Some(warning) = key.warning(None) {
            warning.log();
        }
        Self {
            looks: AtomicU32::new(LOOKS),
            keyless: AtomicU32::new(0),
            of_key: Mutex::default(),
            whole_ipv6: Once::new(),
        }
    }

    /// Looks at a request for which the function that picks keys found none.
    pub(crate) fn record_missing_key(&self) {
        let none_had_one = self.looks.load(Relaxed) == LOOKS;
        if none_had_one && self.keyless.fetch_add(1, Relaxed) == KEYLESS - 1 {
            ConfigWarning::KeyNeverFound.log();
        }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.looks.load(Relaxed) != 0
    }

    /// Takes from a request what [`look`](Self::look) needs when its key is known.
    #[cold]
    pub(crate) fn sample(head: &RequestHead<'_>) -> RequestSample<'static> {
        let fields = [ForwardedHeader::XForwardedFor, ForwardedHeader::Forwarded];
        let fields = fields.map(|field| ProxyField {
            name: field.name(),
            ends_in_address: field.last_hop(head.headers()).map(|hop| hop.is_some()),
        });
        RequestSample::new(head.peer(), fields)
    }

    /// Looks at a request.
    #[cold]
    pub(crate) fn look(&self, by: &dyn ExtractKey, sample: &RequestSample<'_>) {
        // Whoever comes too late looks once too often.
        let looks = self.looks.load(Relaxed);
        self.looks.store(looks.saturating_sub(1), Relaxed);
        if let Some(warning) = by.warning(Some(sample)) {
            let mut logged = self.of_key.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Looks at rules that apply to all requests, whatever their keys, and at what is to be done by them.
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

/// Looks at a limiter that goes, perhaps, with all that it counted.
pub(crate) fn warn_about_dropped_limiter(limiter: &Limiter) {
    static GONE: AtomicU32 = AtomicU32::new(0);
    if limiter.storage().scope() == Scope::Process
        && limiter.metrics().total == 1
        && GONE.fetch_add(1, Relaxed) == SHORT_LIVED - 1
    {
        ConfigWarning::LimiterPerRequest.log();
    }
}

/// Looks at what a layer decided about a request, and another around it before.
///
/// Layers by different keys may share a rule, and then their counts have nothing to do with each other.
/// By the same key, the second has always less by what it takes; that this is so several times in a row is
/// no chance.
#[cold]
pub(crate) fn warn_if_nested(outer: &Decisions, inner: &Decisions) {
    static IN_A_ROW: AtomicU32 = AtomicU32::new(0);
    static LOGGED: Once = Once::new();
    for inner in inner.all().iter().filter(|inner| counts(inner)) {
        let is_same = |outer: &&Decision| Arc::ptr_eq(outer.checked_rule(), inner.checked_rule());
        let Some(outer) = outer.all().iter().filter(|outer| counts(outer)).find(is_same) else {
            continue;
        };
        if outer.remaining() != inner.remaining() + inner.cost() {
            IN_A_ROW.store(0, Relaxed);
        } else if IN_A_ROW.fetch_add(1, Relaxed) >= NO_CHANCE - 1 {
            LOGGED.call_once(|| ConfigWarning::CountedTwice(inner.rule().to_owned()).log());
        }
    }
}

fn counts(decision: &Decision) -> bool {
    decision.is_allowed() && decision.listed().is_none() && !decision.is_concurrency()
}
