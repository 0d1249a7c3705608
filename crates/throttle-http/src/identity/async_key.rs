//! Keys that must be waited for: an API key that is looked up in a database.

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

/// Limits by what an asynchronous function finds out: the customer that an API key belongs to.
///
/// The function sees the head of the request, takes what it needs from it, and returns a future that owns
/// it. The future answers with something that [is a key](super::IntoKey), or with [`KeyWithRules`], which says what rules
/// apply to it.
///
/// - `Ok(None)`: the request does not say whose it is; refused with 400 unless
///   [`missing`](Self::missing) says otherwise.
/// - `Err(…)`: it could not be found out. That is as if the storage had failed:
///   [`Options::on_error`](crate::Options::on_error) says what it means, and the log has one line for each
///   change.
///
/// It is asked for each request that is not exempt, before the limit is: whoever makes many requests makes
/// many lookups, so keep what was found for a while. It has no deadline of its own. Where the client
/// goes away meanwhile, it is dropped.
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
///             Some(api_key) => look_up(&api_key).await, // Ok(None) where nobody has it
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
    /// Looks keys up by a function of the request.
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

    /// Says what becomes of a request that does not say whose it is; default [`OnMissing::Reject`]. No rules are
    /// picked for it: where each key has rules of its own, have the function answer with a [`KeyWithRules`] for
    /// those, too.
    pub fn missing(mut self, missing: OnMissing) -> Self {
        self.missing = missing;
        self
    }
}

impl ExtractKey for AsyncKey {
    /// Knows no key at once.
    fn extract<'a>(&'a self, _: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        Err(NoKey::Unidentified)
    }

    fn is_async(&self) -> bool {
        true
    }

    fn extract_later(&self, head: &RequestHead<'_>) -> KeyFuture {
        let found = (self.look_up)(head);
        // The head is gone when it is known whether this is needed.
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
