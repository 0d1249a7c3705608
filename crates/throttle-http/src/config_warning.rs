//! What the log says of a configuration that looks wrong.

use std::net::IpAddr;

use throttle_core::Key;

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
    /// A request from a trusted proxy lacks the field that is read.
    #[error(
        "a request from the trusted network {network} has no header field {field:?}: if a proxy forwarded it, the \
         proxy does not write the field, and clients that send it choose their own address; have the proxy write \
         it ({}); if it is a request of the proxy itself, such as a health check, exempt its path with \
         `.exempt_paths(…)`",
        how_to_write(field)
    )]
    ProxyFieldMissing {
        /// The entry of `trusted_proxies` that the peer is in.
        network: String,
        /// The field that is read.
        field: &'static str,
    },
    /// A request from a trusted proxy has only the field that is not read.
    #[error(
        "a request from the trusted network {network} has the header field {found:?}, and not {field:?}, which is \
         read: if the proxy writes {found:?}, select it with `.header(ForwardedHeader::…)`; if the client sent it, \
         the proxy writes neither, and clients that send {field:?} choose their own address: have the proxy write \
         it ({})",
        how_to_write(field)
    )]
    ProxyFieldUnread {
        /// The entry of `trusted_proxies` that the peer is in.
        network: String,
        /// The field that is read.
        field: &'static str,
        /// The field that the request has.
        found: &'static str,
    },
    /// The last entry of the field from a trusted proxy is not an address.
    #[error(
        "the last entry of the header field {field:?} in a request from the trusted network {network} is not an \
         address, so that all clients of that proxy share one limit, its own; have the proxy append the address of \
         its client ({}); a proxy that accepts connections on a Unix socket does not know it",
        how_to_write(field)
    )]
    ProxyEntryInvalid {
        /// The entry of `trusted_proxies` that the peer is in.
        network: String,
        /// The field that is read.
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

/// Returns the settings of proxies that append their client's address to the field.
fn how_to_write(field: &str) -> &'static str {
    match field {
        "forwarded" => {
            "HAProxy: `option forwarded` in the backend; lighttpd: `proxy.forwarded`; nghttpx: `add-forwarded=for` \
             and `forwarded-for=ip`"
        }
        _ => {
            "nginx: `proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for`; HAProxy: `option forwardfor`; \
             Envoy: `use_remote_address: true`"
        }
    }
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
    fields: [ProxyField; 2],
    key: Option<&'a Key<'a>>,
}

/// One of the two fields that proxies write, in a request.
#[derive(Copy, Clone, Debug)]
pub(crate) struct ProxyField {
    pub(crate) name: &'static str,
    /// Whether the last entry is an address; `None` without the field.
    pub(crate) ends_in_address: Option<bool>,
}

impl RequestSample<'static> {
    pub(crate) fn new(peer: Option<IpAddr>, fields: [ProxyField; 2]) -> Self {
        Self { peer: peer.map(|peer| peer.to_canonical()), fields, key: None }
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
        let peer = self.peer?;
        let sent = self.fields.iter().find(|field| field.ends_in_address.is_some())?;
        Some(ConfigWarning::UntrustedProxy { peer, field: sent.name })
    }

    /// Returns the warning that the peer, a proxy of this trusted network, does not write its client's address
    /// into the field that is read.
    pub(crate) fn trusted_proxy(
        &self,
        network: impl ToString,
        field: &'static str,
    ) -> Option<ConfigWarning> {
        let is_read = |one: &&ProxyField| one.name == field;
        let read = self.fields.iter().find(is_read)?;
        let other = self.fields.iter().find(|one| !is_read(one))?;
        let network = || network.to_string();
        match (read.ends_in_address, other.ends_in_address) {
            (Some(true), _) => None,
            (Some(false), _) => {
                Some(ConfigWarning::ProxyEntryInvalid { network: network(), field })
            }
            (None, None) => Some(ConfigWarning::ProxyFieldMissing { network: network(), field }),
            (None, Some(_)) => {
                let found = other.name;
                Some(ConfigWarning::ProxyFieldUnread { network: network(), field, found })
            }
        }
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
