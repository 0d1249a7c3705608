//! Storages that wrap another storage.

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
use crate::{complete_on_drop::Work, time::Clock, verdict::Outcome};

/// A storage that wraps another.
///
/// Only [`Wrapper::inner`] is required. The trait has every other method of [`Storage`] and [`AtomicStorage`], each of
/// which forwards to the inner storage. A type that implements `Wrapper` also implements these two traits: a limiter
/// can use it, and another wrapper can wrap it.
///
/// - To handle all calls in the same way, for example to count or log them, override [`Wrapper::around`]. The provided
///   methods make their calls through it.
/// - To change one call, override its method. The others still forward.
///
/// Clones of a wrapper share its state, as clones of other storages do: keep the state in an `Arc`.
///
/// A wrapper sees whole checks. With a storage of six operations it sees one [`Wrapper::acquire`], but not the calls of
/// `get` and `set` that implement it.
///
/// The methods have the same names as in [`Storage`] and [`AtomicStorage`]. If `Wrapper` and one of these are
/// imported, `wrapper.get(key)` is ambiguous: write `Storage::get(&wrapper, key)`, or import `Wrapper` only in the file
/// that implements it.
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
    /// Returns the inner storage.
    ///
    /// A constructor gets it from any storage with [`Storage::atomic`].
    fn inner(&self) -> &Arc<dyn AtomicStorage>;

    /// Makes a call to the inner storage with `forward`.
    ///
    /// All provided methods that call the storage use this method, including those for permits. [`Wrapper::lists`] and
    /// [`Wrapper::shutdown`] do not, and an overridden method does so only if it calls this method.
    ///
    /// `forward` borrows the request, so it must be called before this method returns. To answer with an error, do not
    /// call it. To make a call later, or more than once, override the methods themselves.
    #[inline]
    #[expect(unused_variables, reason = "`call` is for those who override it")]
    fn around<T: Send + 'static>(
        &self,
        call: StorageCall,
        forward: impl FnOnce(&Arc<dyn AtomicStorage>) -> Reply<T>,
    ) -> Reply<T> {
        forward(self.inner())
    }

    /// Forwards [`AtomicStorage::acquire`].
    #[inline]
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.around(StorageCall::Acquire, |inner| inner.acquire(request))
    }

    /// Forwards [`AtomicStorage::peek`].
    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        self.around(StorageCall::Peek, |inner| inner.peek(request))
    }

    /// Forwards [`AtomicStorage::refund`].
    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        self.around(StorageCall::Refund, |inner| inner.refund(refunds, clock))
    }

    /// Forwards [`AtomicStorage::reset`].
    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
        self.around(StorageCall::Reset, |inner| inner.reset(request))
    }

    /// Forwards [`AtomicStorage::scope`].
    fn scope(&self) -> Scope {
        self.inner().scope()
    }

    /// Forwards [`AtomicStorage::lists`].
    fn lists(&self) -> Option<Arc<dyn ListStorage>> {
        self.inner().lists()
    }

    /// Forwards [`AtomicStorage::concurrency`].
    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>> {
        let permits = self.inner().concurrency()?;
        Some(Arc::new(PermitsAround { wrapper: self.clone(), permits }))
    }

    /// Forwards [`AtomicStorage::max_log_limit`].
    fn max_log_limit(&self) -> u64 {
        self.inner().max_log_limit()
    }

    /// Forwards [`AtomicStorage::shutdown`], without a call of [`Wrapper::around`].
    fn shutdown(&self) -> Reply<()> {
        self.inner().shutdown()
    }

    /// Forwards [`AtomicStorage::spawn`].
    ///
    /// # Errors
    ///
    /// Returns the work if the inner storage has no runtime of its own.
    #[doc(hidden)] // of our own crates
    fn spawn(&self, work: Work) -> Result<(), Work> {
        self.inner().spawn(work)
    }

    /// Forwards [`AtomicStorage::kind`].
    fn kind(&self) -> &str {
        self.inner().kind()
    }

    /// Forwards [`Storage::get`].
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        let key = key.to_owned();
        operation(self, StorageCall::Get, |inner| async move { inner.get(&key).await }).await
    }

    /// Forwards [`Storage::set`].
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

    /// Forwards [`Storage::increment`].
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

    /// Forwards [`Storage::delete`].
    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        let key = key.to_owned();
        operation(self, StorageCall::Delete, |inner| async move { inner.delete(&key).await }).await
    }

    /// Forwards [`Storage::exists`].
    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        let key = key.to_owned();
        operation(self, StorageCall::Exists, |inner| async move { inner.exists(&key).await }).await
    }

    /// Forwards [`Storage::clear`].
    async fn clear(&self) -> Result<u64, StorageError> {
        operation(self, StorageCall::Clear, |inner| async move { inner.clear().await }).await
    }
}

/// A kind of call to a storage.
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

// The compiler should report a missing `impl Storage`, and not suggest an `impl Wrapper`.
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

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
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

    fn shutdown(&self) -> Reply<()> {
        Wrapper::shutdown(self)
    }

    fn spawn(&self, work: Work) -> Result<(), Work> {
        Wrapper::spawn(self, work)
    }

    fn kind(&self) -> &str {
        Wrapper::kind(self)
    }
}

/// The permits of a wrapped storage, whose calls go through the wrapper.
struct PermitsAround<W> {
    wrapper: W,
    permits: Arc<dyn ConcurrencyStorage>,
}

impl<W: Wrapper> ConcurrencyStorage for PermitsAround<W> {
    fn take(&self, of: &ConcurrencyKey<'_>, limit: u64) -> Reply<PermitReply> {
        self.wrapper.around(StorageCall::AcquirePermit, |_| self.permits.take(of, limit))
    }

    fn in_use(&self, of: &ConcurrencyKey<'_>) -> Reply<u64> {
        self.wrapper.around(StorageCall::PermitsInUse, |_| self.permits.in_use(of))
    }
}

/// Makes a call of one of the six operations through [`Wrapper::around`].
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
