//! Keys that are looked up asynchronously, such as the customer of an API key.

use std::{error::Error, fmt, future::Future, pin::Pin, sync::Arc};

use throttle_core::{Key, StorageError};

use super::{
    extract::ExtractKey,
    into_key::NoKey,
    invalid::InvalidKey,
    keyed::{IntoKeyWithRules, KeyError, KeyFuture, KeyWithRules},
    missing::OnMissing,
};
use crate::{
    config_warning::{ConfigWarning, RequestSample},
    head::RequestHead,
};

/// A key that an asynchronous function looks up, for example the customer that an API key belongs to.
///
/// The function reads the head of the request and returns a future, which must own its values. The future
/// returns a [key](super::IntoKey), or a [`KeyWithRules`] with the rules that apply to the key.
///
/// - `Ok(None)`: the request does not identify its client. It is rejected with 400, or as
///   [`missing`](Self::missing) sets.
/// - `Err(…)`: the lookup failed. This is handled like a failure of the storage, by
///   [`Options::on_error`](crate::Options::on_error), and logged in the same way.
///
/// The function is called for every request that is not exempt, before the limit is checked. A client that
/// sends many requests causes many lookups, so cache the results. There is no timeout; add one if the lookup
/// can hang. If the client disconnects, the future is dropped.
///
/// # Examples
///
/// ```
/// use std::io;
/// # mod ratethrottle { pub use throttle_http::*; pub use throttle_http::identity::*; pub mod options { pub use super::*; } }
/// use ratethrottle::{RequestHead, identity::{AsyncKey, OnMissing}, options::Options};
///
/// # async fn look_up(api_key: &str) -> Result<Option<u64>, io::Error> { Ok(None) }
/// let customer = AsyncKey::new(|head: &RequestHead<'_>| {
///     let api_key = head.header("x-api-key").map(str::to_owned);
///     async move {
///         match api_key {
///             Some(api_key) => look_up(&api_key).await, // Ok(None) for an unknown API key
///             None => Ok(None),
///         }
///     }
/// });
/// let options = Options::new().key(customer.missing(OnMissing::Anonymous));
/// ```
#[derive(Clone)]
#[must_use]
pub struct AsyncKey {
    look_up: Arc<dyn Fn(&RequestHead<'_>) -> LookUp + Send + Sync>,
    missing: OnMissing,
}

type LookUp = Pin<Box<dyn Future<Output = Result<Option<KeyWithRules>, StorageError>> + Send>>;

impl AsyncKey {
    /// Creates a key from an asynchronous function of the request.
    pub fn new<F, L, K, E>(look_up: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> L + Send + Sync + 'static,
        L: Future<Output = Result<K, E>> + Send + 'static,
        K: IntoKeyWithRules,
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        let look_up = Arc::new(move |head: &RequestHead<'_>| {
            let found = look_up(head);
            let found = async move {
                let found = found.await.map_err(StorageError::other)?;
                Ok(found.into_key_with_rules())
            };
            Box::pin(found) as LookUp
        });
        Self { look_up, missing: OnMissing::Reject }
    }

    /// Sets how a request that does not identify its client is handled. The default is [`OnMissing::Reject`].
    ///
    /// No rules are selected for such a request. If each key has its own rules, return a [`KeyWithRules`] for
    /// these requests, too.
    pub fn missing(mut self, missing: OnMissing) -> Self {
        self.missing = missing;
        self
    }
}

impl ExtractKey for AsyncKey {
    /// Returns no key, because the key is known only later.
    fn extract<'a>(&'a self, _: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        Err(NoKey::Unidentified)
    }

    fn is_async(&self) -> bool {
        true
    }

    fn extract_later(&self, head: &RequestHead<'_>) -> KeyFuture {
        let found = (self.look_up)(head);
        // Computed now, because the head is no longer available when the lookup is done.
        let missing = self.missing.key(head, || NoKey::Unidentified).map(Key::into_owned);
        Box::pin(async move {
            match found.await {
                Ok(Some(keyed)) => Ok(keyed),
                Ok(None) => {
                    missing.map(|key| KeyWithRules { key, rules: None }).map_err(KeyError::NoKey)
                }
                Err(error) => Err(KeyError::Failed(error)),
            }
        })
    }

    fn validate(&self) -> Result<(), InvalidKey> {
        self.missing.validate()
    }

    fn warning(&self, sample: Option<&RequestSample<'_>>) -> Option<ConfigWarning> {
        self.missing.warning(sample).or_else(|| sample?.proxy_as_key())
    }
}

impl fmt::Debug for AsyncKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncKey").field("missing", &self.missing).finish_non_exhaustive()
    }
}
