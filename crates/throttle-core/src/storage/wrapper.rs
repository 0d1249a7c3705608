//! A storage that wraps another.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;

use super::{
    charge::Refund,
    concurrency::{ConcurrencyKey, ConcurrencyStorage, PermitReply},
    error::StorageError,
    lists::ListStorage,
    reply::Reply,
    request::ChargeRequest,
    traits::{AtomicStorage, Scope, Storage},
    value::Value,
};
use crate::{decision::Outcome, time::Clock};

/// A storage that wraps another.
///
/// [`Wrapper::inner`] is required. Every other method of [`Storage`] and [`AtomicStorage`] is here
/// and forwards to the inner storage. A type that implements this trait implements those two:
/// a limiter takes it, and another wrapper can wrap it.
///
/// - To treat all calls alike, such as to count or log them, override [`Wrapper::around`]: the
///   provided methods make their calls through it.
/// - To change one call, override the method of that name. The others still forward.
///
/// Clones of a wrapper share its state, as those of other storages do: keep it in an `Arc`.
///
/// A wrapper is outside of whole checks: of a storage with six operations it sees one
/// [`Wrapper::acquire`], and none of the calls of `get` and `set` by which that is served.
///
/// Its methods have the names of those of [`Storage`] and [`AtomicStorage`]. Where `Wrapper` and one of
/// these are imported, `wrapper.get(key)` is ambiguous: write `Storage::get(&wrapper, key)`, or import
/// `Wrapper` in the file of the wrapper alone.
///
/// # Examples
///
/// A storage that logs its calls:
///
/// ```
/// # mod ratethrottle { pub use throttle_core::*; pub use throttle_core as storage; }
/// use std::{sync::Arc, time::Instant};
///
/// use ratethrottle::{
///     Limiter, Storage,
///     storage::{AtomicStorage, Reply, StorageCall, Wrapper},
/// };
///
/// #[derive(Clone)]
/// struct Logged {
///     inner: Arc<dyn AtomicStorage>,
/// }
///
/// impl Logged {
///     fn new(storage: impl Storage) -> Self {
///         Self { inner: Arc::new(storage).atomic() }
///     }
/// }
///
/// impl Wrapper for Logged {
///     fn inner(&self) -> &Arc<dyn AtomicStorage> {
///         &self.inner
///     }
///
///     fn around<T: Send + 'static>(
///         &self,
///         call: StorageCall,
///         forward: impl FnOnce(&Arc<dyn AtomicStorage>) -> Reply<T>,
///     ) -> Reply<T> {
///         let start = Instant::now();
///         forward(&self.inner).then(move |answer| {
///             let elapsed = start.elapsed();
///             match &answer {
///                 Ok(_) => tracing::debug!(?call, ?elapsed, "the storage answered"),
///                 Err(error) => tracing::warn!(?call, ?elapsed, %error, "the storage failed"),
///             }
///             Reply::ready(answer)
///         })
///     }
/// }
///
/// fn limiter(storage: impl Storage) -> Limiter {
///     Limiter::new(Logged::new(storage))
/// }
/// ```
///
/// A storage that logs denied keys changes one call:
///
/// ```
/// # use throttle_core as ratethrottle;
/// # use std::sync::Arc;
/// # use ratethrottle::{AtomicStorage, ChargeRequest, Outcome, Reply, Wrapper};
/// # #[derive(Clone)]
/// # struct DenialLog { inner: Arc<dyn AtomicStorage> }
/// impl Wrapper for DenialLog {
///     fn inner(&self) -> &Arc<dyn AtomicStorage> {
///         &self.inner
///     }
///
///     fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
///         self.inner.acquire(request).then_with(self, request, |_, request, answer| {
///             if answer.as_ref().is_ok_and(|outcome| !outcome.is_allowed()) {
///                 tracing::info!(charges = ?request.charges(), "denied");
///             }
///             Reply::ready(answer)
///         })
///     }
/// }
/// ```
#[async_trait]
pub trait Wrapper: Clone + Send + Sync + 'static {
    /// Returns the storage inside.
    ///
    /// A constructor gets it from any storage by [`Storage::atomic`].
    fn inner(&self) -> &Arc<dyn AtomicStorage>;

    /// Makes a call of the inner storage, which is what `forward` does.
    ///
    /// All provided methods that ask the storage go through this one, those for permits included.
    /// [`Wrapper::lists`] does not, nor does a method that is overridden, unless it calls this one.
    ///
    /// `forward` borrows the request: call it before this method returns, or not at all, and answer with
    /// an error. To call later, or more than once, override the methods themselves.
    #[inline]
    #[expect(unused_variables, reason = "`call` is for those who override it")]
    fn around<T: Send + 'static>(
        &self,
        call: StorageCall,
        forward: impl FnOnce(&Arc<dyn AtomicStorage>) -> Reply<T>,
    ) -> Reply<T> {
        forward(self.inner())
    }

    /// See [`AtomicStorage::acquire`].
    #[inline]
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.around(StorageCall::Acquire, |inner| inner.acquire(request))
    }

    /// See [`AtomicStorage::peek`].
    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.around(StorageCall::Peek, |inner| inner.peek(request))
    }

    /// See [`AtomicStorage::refund`].
    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        self.around(StorageCall::Refund, |inner| inner.refund(refunds, clock))
    }

    /// See [`AtomicStorage::reset`].
    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()> {
        self.around(StorageCall::Reset, |inner| inner.reset(request))
    }

    /// See [`AtomicStorage::scope`].
    fn scope(&self) -> Scope {
        self.inner().scope()
    }

    /// See [`AtomicStorage::lists`].
    fn lists(&self) -> Option<Arc<dyn ListStorage>> {
        self.inner().lists()
    }

    /// See [`AtomicStorage::concurrency`].
    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>> {
        let places = self.inner().concurrency()?;
        Some(Arc::new(PermitsAround { wrapper: self.clone(), places }))
    }

    /// See [`AtomicStorage::max_log_limit`].
    fn max_log_limit(&self) -> u64 {
        self.inner().max_log_limit()
    }

    /// See [`AtomicStorage::kind`].
    fn kind(&self) -> &str {
        self.inner().kind()
    }

    /// See [`Storage::get`].
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        let key = key.to_owned();
        operation(self, StorageCall::Get, |inner| async move { inner.get(&key).await }).await
    }

    /// See [`Storage::set`].
    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        let key = key.to_owned();
        operation(self, StorageCall::Set, |inner| async move { inner.set(&key, value, ttl).await })
            .await
    }

    /// See [`Storage::increment`].
    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        let key = key.to_owned();
        operation(self, StorageCall::Increment, |inner| async move {
            inner.increment(&key, amount, ttl).await
        })
        .await
    }

    /// See [`Storage::delete`].
    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        let key = key.to_owned();
        operation(self, StorageCall::Delete, |inner| async move { inner.delete(&key).await }).await
    }

    /// See [`Storage::exists`].
    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        let key = key.to_owned();
        operation(self, StorageCall::Exists, |inner| async move { inner.exists(&key).await }).await
    }

    /// See [`Storage::clear`].
    async fn clear(&self) -> Result<u64, StorageError> {
        operation(self, StorageCall::Clear, |inner| async move { inner.clear().await }).await
    }
}

/// A kind of call that a storage is asked for.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum StorageCall {
    /// [`AtomicStorage::acquire`].
    Acquire,
    /// [`AtomicStorage::peek`].
    Peek,
    /// [`AtomicStorage::refund`].
    Refund,
    /// [`AtomicStorage::reset`].
    Reset,
    /// [`ConcurrencyStorage::take`].
    AcquirePermit,
    /// [`ConcurrencyStorage::in_use`].
    PermitsInUse,
    /// [`Storage::get`].
    Get,
    /// [`Storage::set`].
    Set,
    /// [`Storage::increment`].
    Increment,
    /// [`Storage::delete`].
    Delete,
    /// [`Storage::exists`].
    Exists,
    /// [`Storage::clear`].
    Clear,
}

// A type that lacks an `impl Storage` is to be told so, not that it lacks an `impl Wrapper`.
#[diagnostic::do_not_recommend]
#[async_trait]
impl<W: Wrapper> Storage for W {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        Wrapper::get(self, key).await
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        Wrapper::set(self, key, value, ttl).await
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        Wrapper::increment(self, key, amount, ttl).await
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        Wrapper::delete(self, key).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        Wrapper::exists(self, key).await
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        Wrapper::clear(self).await
    }

    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        self
    }
}

#[diagnostic::do_not_recommend]
impl<W: Wrapper> AtomicStorage for W {
    #[inline]
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        Wrapper::acquire(self, request)
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        Wrapper::peek(self, request)
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        Wrapper::refund(self, refunds, clock)
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<()> {
        Wrapper::reset(self, request)
    }

    fn scope(&self) -> Scope {
        Wrapper::scope(self)
    }

    fn lists(&self) -> Option<Arc<dyn ListStorage>> {
        Wrapper::lists(self)
    }

    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>> {
        Wrapper::concurrency(self)
    }

    fn max_log_limit(&self) -> u64 {
        Wrapper::max_log_limit(self)
    }

    fn kind(&self) -> &str {
        Wrapper::kind(self)
    }
}

/// The permits of a storage, asked for through its wrapper.
struct PermitsAround<W> {
    wrapper: W,
    places: Arc<dyn ConcurrencyStorage>,
}

impl<W: Wrapper> ConcurrencyStorage for PermitsAround<W> {
    fn take(&self, of: &ConcurrencyKey<'_>, limit: u64) -> Reply<PermitReply> {
        self.wrapper.around(StorageCall::AcquirePermit, |_| self.places.take(of, limit))
    }

    fn in_use(&self, of: &ConcurrencyKey<'_>) -> Reply<u64> {
        self.wrapper.around(StorageCall::PermitsInUse, |_| self.places.in_use(of))
    }
}

/// Makes one of the six operations by what a wrapper does around its calls.
fn operation<W: Wrapper, T: Send + 'static, F>(
    wrapper: &W,
    call: StorageCall,
    operation: impl FnOnce(Arc<dyn AtomicStorage>) -> F,
) -> Reply<T>
where
    F: Future<Output = Result<T, StorageError>> + Send + 'static,
{
    wrapper.around(call, |inner| Reply::pending(operation(Arc::clone(inner))))
}

#[cfg(test)]
mod tests;
