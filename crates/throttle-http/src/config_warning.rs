//! What the log says of a configuration that looks wrong.

use std::net::IpAddr;

use throttle_core::Key;

use crate::head::RequestHead;

/// How many requests without a key are no accident, if none before had one.
pub(crate) const KEYLESS: u32 = 20;
/// How many limiters that decided about one request each are no accident.
pub(crate) const FLEETING: u32 = 32;

/// What looks wrong in the configuration; its text, which says what to do, is for the log.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigWarning {
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

impl ConfigWarning {
    /// Writes it to the log.
    pub fn log(&self) {
        tracing::warn!("{self}");
    }
}

/// What diagnostics read of one of the first requests.
#[derive(Copy, Clone, Debug)]
pub struct RequestSample<'a> {
    peer: Option<IpAddr>,
    forwarded: Option<&'static str>,
    key: Option<&'a Key<'a>>,
}

impl RequestSample<'static> {
    pub(crate) fn new(head: &RequestHead<'_>) -> Self {
        let fields = ["x-forwarded-for", "forwarded"];
        let forwarded = fields.into_iter().find(|field| head.headers().contains_key(*field));
        Self { peer: head.peer().map(|peer| peer.to_canonical()), forwarded, key: None }
    }

    pub(crate) fn with_key<'a>(self, key: &'a Key<'_>) -> RequestSample<'a> {
        RequestSample { key: Some(key), ..self }
    }
}

impl RequestSample<'_> {
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    /// Returns the warning that no proxy is trusted, if the request says that it was forwarded.
    #[must_use]
    pub fn proxy(&self) -> Option<ConfigWarning> {
        Some(ConfigWarning::UntrustedProxy { peer: self.peer?, field: self.forwarded? })
    }

    /// As [`proxy`](Self::proxy), if the address that the connection comes from, or its network, is the key
    /// or a part of it.
    #[must_use]
    pub fn proxy_as_key(&self) -> Option<ConfigWarning> {
        let peer = self.peer?;
        let is_key = self.has_in_key(&Key::from(peer)) || self.has_in_key(&Key::network(peer, 64));
        self.proxy().filter(|_| is_key)
    }

    /// Returns whether the key is this one, or [joined](Key::join) of it and others.
    pub(crate) fn has_in_key(&self, part: &Key<'_>) -> bool {
        let mut parts =
            self.key.into_iter().flat_map(|key| key.as_bytes().split(|&byte| byte == b'|'));
        parts.any(|one| one == part.as_bytes())
    }
}
