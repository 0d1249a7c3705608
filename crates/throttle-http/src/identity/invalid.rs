//! Errors in the configuration of keys.

use super::proxies::InvalidProxy;

/// An error in the configuration of a key.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// A trusted proxy that is not a network.
    #[error(transparent)]
    Proxy(#[from] InvalidProxy),
    /// A prefix length that no IPv6 network has, or that makes all clients one.
    #[error(
        "`ipv6_prefix({0})` is not from 1 to 128: with 64, the default, a client is identified by its /64 network"
    )]
    Ipv6Prefix(u8),
    /// A name that no header field can have.
    #[error(
        "{0:?} is not a valid header field name: use letters, digits and \"-\", for example \"x-api-key\""
    )]
    HeaderName(String),
    /// A name that no cookie can have.
    #[error(
        "{0:?} is not a valid cookie name: it must not be empty, have spaces around it, or contain \"=\", \";\" \
         or control characters"
    )]
    CookieName(String),
}

throttle_core::debug_as_text!(InvalidKey);
