//! Mistakes that show when a service starts or with its first requests: a line of the log for each, that
//! names what to do.
//!
//! Only the first requests are looked at, so that what comes later costs one load of a number.

use std::{
    net::IpAddr,
    sync::{
        Arc, Once,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use throttle_core::{Algorithm, CheckedRule, Decision, Decisions, Key, Limiter, Scope};

use crate::{RequestHead, identity::ExtractKey};

/// How many requests are looked at.
const LOOKS: u32 = 1000;
/// How many requests without a key are no accident, if none before had one.
const KEYLESS: u32 = 20;
/// How many limiters that decided about one request each are no accident.
const FLEETING: u32 = 32;

/// How many requests in a row that seem to be charged twice are.
const NO_CHANCE: u32 = 8;

/// Says what looks like a mistake in the configuration, and what to do; its text is for the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Mistake {
    /// A request says that it was forwarded, and no proxy is trusted.
    #[error(
        "a request from {peer} has the header field {field:?}, and no proxy is trusted: if {peer} is a \
         proxy of yours, all its clients share one limit; name it with \
         `.key(ClientIp::new().trusted_proxies([\"{peer}\"]))`; if it is a client, all is well"
    )]
    UntrustedProxy {
        /// Where the connection comes from.
        peer: IpAddr,
        /// The field.
        field: &'static str,
    },
    /// Everybody is trusted to be a proxy.
    #[error(
        "every address is trusted to be a proxy (`0.0.0.0/0` or `::/0`), so that any client can say whose \
         limit its requests count against; name the networks of your proxies in `trusted_proxies`"
    )]
    TrustsEverybody,
    /// The key is a whole IPv6 address.
    #[error(
        "the key {0:?} is a whole IPv6 address, of which a client has 2^64 or more, and so as many limits; \
         use `ClientIp`, or let the function that picks keys return the `IpAddr` itself, or \
         `Key::network(address, 64)`"
    )]
    WholeIpv6(IpAddr),
    /// The function that picks keys finds none.
    #[error(
        "the function that picks keys has found none in any of the first {KEYLESS} requests: if it reads what \
         another layer leaves beside the request, that layer must lie around this one (of layers that are added to \
         a router or an app, the last is the outermost), and in Actix this one must say `.extension::<T>()`"
    )]
    KeyNeverThere,
    /// Requests are to wait for turns, and no rule has any.
    #[error(
        "requests are to wait for their turn, but none of the rules is a leaky bucket, so that none ever does: make \
         it one with `.algorithm(Algorithm::LeakyBucket)`, or leave `.shape()` out"
    )]
    NoTurns,
    /// Every request costs more than a rule ever admits.
    #[error(
        "every request costs {cost}, and the rule {rule:?} never admits more than {most} at once: all are refused; \
         lower the cost, or raise the limit or the burst"
    )]
    TooCostly {
        /// The rule.
        rule: String,
        /// What a request costs.
        cost: u64,
        /// The limit, or the burst of a bucket.
        most: u64,
    },
    /// A limiter is made for each request.
    #[error(
        "{FLEETING} limiters have come and gone with one request each; unless they share a storage, nobody is ever \
         limited: make the layer once, outside of what handles requests, and clone it"
    )]
    LimiterPerRequest,
    /// A limiter is made for each worker.
    #[error(
        "each worker of the server has a limiter and a storage of its own, so that each grants the whole \
         limit; make the limiter outside of the closure that is given to `HttpServer::new`, and clone it"
    )]
    LimiterPerWorker,
    /// Requests are charged twice.
    #[error(
        "requests are charged twice by the rule {0:?}: two layers of one limiter, with the same key, lie around \
         each other; take one away, or name the rules of each with `.rule(…)`"
    )]
    CountedTwice(String),
}

impl Mistake {
    /// Writes it to the log.
    pub fn log(&self) {
        tracing::warn!("{self}");
    }
}

/// Is what is looked at of a request.
#[derive(Copy, Clone, Debug)]
pub struct Seen<'a> {
    peer: Option<IpAddr>,
    forwarded: Option<&'static str>,
    key: Option<&'a Key<'a>>,
}

impl Seen<'static> {
    pub(crate) fn new(head: &RequestHead<'_>) -> Self {
        let fields = ["x-forwarded-for", "forwarded"];
        let forwarded = fields.into_iter().find(|field| head.headers().contains_key(*field));
        Self { peer: head.peer().map(|peer| peer.to_canonical()), forwarded, key: None }
    }

    pub(crate) fn with_key<'a>(self, key: &'a Key<'_>) -> Seen<'a> {
        Seen { key: Some(key), ..self }
    }
}

impl Seen<'_> {
    /// Returns the mistake that nobody is trusted, if the request says that it was forwarded.
    #[must_use]
    pub fn proxy(&self) -> Option<Mistake> {
        Some(Mistake::UntrustedProxy { peer: self.peer?, field: self.forwarded? })
    }

    /// As [`proxy`](Self::proxy), if the address that the connection comes from, or its network, is the key
    /// or a part of it.
    #[must_use]
    pub fn proxy_as_key(&self) -> Option<Mistake> {
        let peer = self.peer?;
        let is_key = self.has_in_key(&Key::from(peer)) || self.has_in_key(&Key::network(peer, 64));
        self.proxy().filter(|_| is_key)
    }

    /// Returns whether the key is this one, or [joined](Key::join) of it and others.
    fn has_in_key(&self, part: &Key<'_>) -> bool {
        let mut parts =
            self.key.into_iter().flat_map(|key| key.as_bytes().split(|&byte| byte == b'|'));
        parts.any(|one| one == part.as_bytes())
    }
}

/// Looks at the first requests.
#[derive(Debug)]
pub(crate) struct Watch {
    looks: AtomicU32,
    keyless: AtomicU32,
    key: Once,
    whole_ipv6: Once,
}

impl Watch {
    /// Looks at what was configured.
    pub(crate) fn new(key: &Arc<dyn ExtractKey>) -> Self {
        if let Some(mistake) = key.mistake(None) {
            mistake.log();
        }
        Self {
            looks: AtomicU32::new(LOOKS),
            keyless: AtomicU32::new(0),
            key: Once::new(),
            whole_ipv6: Once::new(),
        }
    }

    /// Looks at a request for which the function that picks keys found none.
    pub(crate) fn look_at_keyless(&self) {
        let none_had_one = self.looks.load(Relaxed) == LOOKS;
        if none_had_one && self.keyless.fetch_add(1, Relaxed) == KEYLESS - 1 {
            Mistake::KeyNeverThere.log();
        }
    }

    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.looks.load(Relaxed) != 0
    }

    /// Looks at a request.
    #[cold]
    pub(crate) fn look(&self, by: &dyn ExtractKey, seen: &Seen<'_>) {
        // Whoever comes too late looks once too often.
        let looks = self.looks.load(Relaxed);
        self.looks.store(looks.saturating_sub(1), Relaxed);
        if let Some(mistake) = by.mistake(Some(seen)) {
            self.key.call_once(|| mistake.log());
        }
        if let Some(peer @ IpAddr::V6(_)) = seen.peer
            && seen.has_in_key(&Key::from(peer))
        {
            self.whole_ipv6.call_once(|| Mistake::WholeIpv6(peer).log());
        }
    }
}

/// Looks at rules that apply to all requests, whatever their keys, and at what is to be done by them.
pub(crate) fn look_at_rules(rules: &[Arc<CheckedRule>], cost: Option<u64>, shapes: bool) {
    let is_queue = |rule: &Arc<CheckedRule>| rule.algorithm() == Algorithm::LeakyBucket;
    if shapes && !rules.iter().any(is_queue) {
        Mistake::NoTurns.log();
    }
    let Some(cost) = cost else { return };
    if let Some(rule) = rules.iter().find(|rule| cost > rule.capacity()) {
        let (rule, most) = (rule.name().to_owned(), rule.capacity());
        Mistake::TooCostly { rule, cost, most }.log();
    }
}

/// Looks at a limiter that goes, perhaps, with all that it counted.
pub(crate) fn look_at_gone(limiter: &Limiter) {
    static GONE: AtomicU32 = AtomicU32::new(0);
    if limiter.storage().scope() == Scope::Process
        && limiter.metrics().total == 1
        && GONE.fetch_add(1, Relaxed) == FLEETING - 1
    {
        Mistake::LimiterPerRequest.log();
    }
}

/// Looks at what a layer decided about a request, and another around it before.
///
/// Layers by different keys may share a rule, and then their counts have nothing to do with each other.
/// By the same key, the second has always less by what it takes; that this is so several times in a row is
/// no chance.
#[cold]
pub fn look_at_nested(outer: &Decisions, inner: &Decisions) {
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
            LOGGED.call_once(|| Mistake::CountedTwice(inner.rule().to_owned()).log());
        }
    }
}

fn counts(decision: &Decision) -> bool {
    decision.is_allowed() && decision.listed().is_none() && !decision.is_concurrency()
}
