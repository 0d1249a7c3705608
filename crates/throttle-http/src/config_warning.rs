//! Warnings about a configuration that is probably wrong.

use std::net::IpAddr;

use throttle_core::Key;

/// The number of first requests without a key after which the configuration is probably wrong.
pub(crate) const KEYLESS: u32 = 20;
/// The number of first requests that are inspected.
pub(crate) const SAMPLES: u32 = 1000;
/// The number of limiters with a single request each after which the configuration is probably wrong.
pub(crate) const SHORT_LIVED: u32 = 32;

/// A warning about a configuration that is probably wrong. Its text is logged, and contains the fix.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigWarning {
    /// A forwarded request, while no proxy is trusted.
    #[error(
        "a request from {peer} has the header field {field:?}, but no proxy is trusted: if {peer} is your proxy, \
         all of its clients share one limit; trust it with \
         `.key(ClientIp::new().trusted_proxies([\"{peer}\"]){})`; if it is a client, ignore this warning",
        if *field == "x-forwarded-for" { "" } else { how_to_select(field) }
    )]
    UntrustedProxy {
        /// The address of the connection.
        peer: IpAddr,
        /// The field.
        field: &'static str,
    },
    /// A request from a trusted proxy without the field that is read.
    #[error(
        "a request from the trusted network {network} has no header field {field:?}: if a proxy forwarded it, the \
         proxy does not write the field, and clients that send it choose their own address; configure the proxy to \
         write it ({}); if the proxy made the request itself, for example a health check, exempt its path with \
         `.exempt_paths(…)`",
        how_to_write(field)
    )]
    ProxyFieldMissing {
        /// The entry of `trusted_proxies` that contains the peer.
        network: String,
        /// The field that is read.
        field: &'static str,
    },
    /// A request from a trusted proxy with only a field that is not read.
    #[error(
        "a request from the trusted network {network} has the header field {found:?}, but not {field:?}, which is \
         read: if the proxy writes {found:?}, select it with `{}`; if the client sent it, \
         the proxy does not write {field:?}, and clients that send it choose their own address: configure the \
         proxy to write it ({})",
        how_to_select(found),
        how_to_write(field)
    )]
    ProxyFieldUnread {
        /// The entry of `trusted_proxies` that contains the peer.
        network: String,
        /// The field that is read.
        field: &'static str,
        /// The field that the request has.
        found: &'static str,
    },
    /// A field from a trusted proxy whose last entry is not an address.
    #[error(
        "the last entry of the header field {field:?} in a request from the trusted network {network} is not an \
         address, so all clients of that proxy share the limit of the proxy; configure the proxy to write the \
         address of its client ({}); a proxy that accepts connections on a Unix socket does not know it",
        how_to_write(field)
    )]
    ProxyEntryInvalid {
        /// The entry of `trusted_proxies` that contains the peer.
        network: String,
        /// The field that is read.
        field: &'static str,
    },
    /// A list of trusted proxies that contains every address.
    #[error(
        "every address is trusted as a proxy (`0.0.0.0/0` or `::/0`), so any client can choose the address that \
         its requests count against; list only the networks of your proxies in `trusted_proxies`"
    )]
    TrustsAllAddresses,
    /// A full IPv6 address as a key.
    #[error(
        "the key {0:?} is a full IPv6 address; a client has 2^64 or more of them, and so as many limits; use \
         `ClientIp`, or return the `IpAddr` itself or `Key::network(address, 64)` from the key function"
    )]
    WholeIpv6(IpAddr),
    /// A key function that finds no key.
    #[error(
        "the key function returned no key for any of the first {KEYLESS} requests: if it reads a value that \
         another layer inserts into the request's extensions, that layer must wrap this one (of the layers added \
         to a router or an app, the last is the outermost); in Actix Web, also add `.extension::<T>()` to this \
         middleware"
    )]
    KeyNeverFound,
    /// Declared rules that nothing selects.
    #[error(
        "`.declare_rules(…)` is set, but no rule is selected by `.select_rules(…)` or an `AsyncKey`, so it has no \
         effect: to apply the rules to every request, use `.rule(…)` instead"
    )]
    DeclaredInVain,
    /// A rule that no middleware applies.
    #[error(
        "no middleware applies the rule {0:?} of the limiter, and it was not checked during {SAMPLES} requests: name \
         it with `.rule(…)`, or remove it; if only other code of the service checks it, ignore this warning"
    )]
    RuleNeverApplied(String),
    /// Shaping without a leaky bucket.
    #[error(
        "`.shape()` is set, but none of the rules is a leaky bucket, so no request is ever delayed: set \
         `.algorithm(Algorithm::LeakyBucket)` on a rule, or remove `.shape()`"
    )]
    NoLeakyBucket,
    /// A cost that is higher than a rule ever allows.
    #[error(
        "every request costs {cost}, but the rule {rule:?} never allows more than {most} at once, so all requests \
         are rejected: lower the cost, or raise the limit or the burst"
    )]
    TooCostly {
        /// The rule.
        rule: String,
        /// The cost of a request.
        cost: u64,
        /// The limit, or the burst of a bucket.
        most: u64,
    },
    /// A limiter for each request.
    #[error(
        "{SHORT_LIVED} limiters were created and dropped after one request each; unless they share a storage, no \
         request is ever limited: create the layer once, outside of the request handler, and clone it"
    )]
    LimiterPerRequest,
    /// A limiter for each worker.
    #[error(
        "each worker of the server has its own limiter and storage, so each grants the whole limit: create the \
         limiter outside of the closure passed to `HttpServer::new`, and clone it"
    )]
    LimiterPerWorker,
    /// Two layers that charge each request twice.
    #[error(
        "the rule {0:?} charges requests twice: two nested layers have the same storage and key; remove one of \
         them, or name the rules of each with `.rule(…)`"
    )]
    CountedTwice(String),
}

throttle_core::debug_as_text!(ConfigWarning);

/// Returns the call that selects the field.
fn how_to_select(field: &str) -> &'static str {
    match field {
        "forwarded" => ".header(ForwardedHeader::Forwarded)",
        "x-real-ip" => ".header(ForwardedHeader::XRealIp)",
        "cf-connecting-ip" => ".header(ForwardedHeader::CfConnectingIp)",
        "true-client-ip" => ".header(ForwardedHeader::TrueClientIp)",
        "fly-client-ip" => ".header(ForwardedHeader::FlyClientIp)",
        _ => ".header(ForwardedHeader::XForwardedFor)",
    }
}

/// Returns the settings that make proxies append the address of their client to the field.
fn how_to_write(field: &str) -> &'static str {
    match field {
        "x-real-ip" => "nginx: `proxy_set_header X-Real-IP $remote_addr`",
        "cf-connecting-ip" | "true-client-ip" | "fly-client-ip" => {
            "trust only networks whose proxies write it"
        }
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
    /// Logs the warning.
    pub fn log(&self) {
        tracing::warn!(target: "ratethrottle::config", "{self}");
    }
}

/// The parts of one of the first requests that diagnostics read.
#[derive(Copy, Clone, Debug)]
pub struct RequestSample<'a> {
    peer: Option<IpAddr>,
    fields: [ProxyField; 6],
    key: Option<&'a Key<'a>>,
}

/// One of the fields that proxies write.
#[derive(Copy, Clone, Debug)]
pub(crate) struct ProxyField {
    pub(crate) name: &'static str,
    /// Whether the last entry is an address; `None` if the field is absent.
    pub(crate) ends_in_address: Option<bool>,
}

impl RequestSample<'static> {
    pub(crate) fn new(peer: Option<IpAddr>, fields: [ProxyField; 6]) -> Self {
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

    /// Returns the warning that no proxy is trusted, if the request was forwarded.
    #[must_use]
    pub fn proxy(&self) -> Option<ConfigWarning> {
        let peer = self.peer?;
        let sent = self.fields.iter().find(|field| field.ends_in_address.is_some())?;
        Some(ConfigWarning::UntrustedProxy { peer, field: sent.name })
    }

    /// Returns a warning about a peer in this trusted network that does not write the address of its client into the
    /// header field that is read.
    pub(crate) fn trusted_proxy(
        &self,
        network: impl ToString,
        field: &'static str,
    ) -> Option<ConfigWarning> {
        let read = self.fields.iter().find(|one| one.name == field)?;
        match read.ends_in_address {
            Some(true) => return None,
            Some(false) => {
                return Some(ConfigWarning::ProxyEntryInvalid {
                    network: network.to_string(),
                    field,
                });
            }
            None => {}
        }
        let network = network.to_string();
        let found = self.fields.iter().find(|one| one.ends_in_address.is_some());
        Some(match found.map(|one| one.name) {
            None => ConfigWarning::ProxyFieldMissing { network, field },
            Some(found) => ConfigWarning::ProxyFieldUnread { network, field, found },
        })
    }

    /// Returns the warning of [`proxy`](Self::proxy), if the address of the connection, or its network, is the
    /// key or a part of it.
    #[must_use]
    pub fn proxy_as_key(&self) -> Option<ConfigWarning> {
        let peer = self.peer?;
        let is_key = self.has_in_key(&Key::from(peer)) || self.has_in_key(&Key::network(peer, 64));
        self.proxy().filter(|_| is_key)
    }

    /// Returns whether `part` is the key, or one of the parts that were [joined](Key::join) into it.
    pub(crate) fn has_in_key(&self, part: &Key<'_>) -> bool {
        let mut parts =
            self.key.into_iter().flat_map(|key| key.as_bytes().split(|&byte| byte == b'|'));
        parts.any(|one| one == part.as_bytes())
    }
}
