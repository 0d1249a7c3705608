//! What cannot be a key as it was configured.

use super::proxies::InvalidProxy;

/// Says why requests cannot be told apart as it was configured.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// A trusted proxy is no network.
    #[error(transparent)]
    Proxy(#[from] InvalidProxy),
    /// No header field can have this name.
    #[error(
        "no header field can be named {0:?}: a name has letters, digits and \"-\", such as \"x-api-key\""
    )]
    HeaderName(String),
    /// No cookie can have this name.
    #[error(
        "no cookie can be named {0:?}: a name is not empty, and has no \"=\", no \";\" and no space around it"
    )]
    CookieName(String),
}
