//! Concurrency limits: the number of requests of a key that may be in flight at once.

use std::{fmt, sync::Arc, time::Duration};

use super::{error::Error, handle::Limiter, inner::Inner, metrics::Counts, stripe::Stripe};
use crate::{
    decision::Decision,
    key::Key,
    rule::{checked::CheckedRule, definition::Rule},
    storage::{ConcurrencyKey, ConcurrencyStorage, PermitGuard, PermitReply, Reply, StorageError},
    verdict::Verdict,
};

/// A limit on the requests of a key that are in flight at once. [`Limiter::concurrency`] creates it.
///
/// It is a cheap handle: clones share everything. All limits with the same name share their permits, even if their
/// limits differ, so one client may have more permits than another.
///
/// The storage counts the permits: [`MemoryStorage`] and custom storages in this process, Redis for all servers. The
/// limiter's lists apply: a key in the allow list is allowed without a permit, and a key in the deny list is denied.
///
/// # Examples
///
/// ```
/// # use throttle_core as ratethrottle;
/// use ratethrottle::{Error, Limiter};
///
/// async fn upload(limiter: &Limiter) -> Result<(), Error> {
///     let uploads = limiter.concurrency("uploads", 5)?;
///     let acquired = uploads.try_acquire("user:42").await?;
///     let Some(permit) = acquired.into_permit() else {
///         println!("five uploads are in flight already");
///         return Ok(());
///     };
///     // … the upload …
///     drop(permit); // also released if the upload panics or is cancelled
///     Ok(())
/// }
/// ```
///
/// [`MemoryStorage`]: https://docs.rs/throttle-memory
#[derive(Clone)]
pub struct ConcurrencyLimit {
    shared: Arc<Shared>,
}

struct Shared {
    limiter: Arc<Inner>,
    permits: Arc<dyn ConcurrencyStorage>,
    /// The name and the limit; the window has no meaning.
    rule: Arc<CheckedRule>,
    /// The counts of all limits of this name.
    counts: Arc<Counts>,
}

/// The decision of a concurrency limit, with the permit if the request is allowed.
#[derive(Debug)]
#[must_use = "the permit is released when this is dropped"]
pub struct Acquired {
    decision: Decision,
    in_use: u64,
    permit: Option<ConcurrencyPermit>,
}

/// A permit, which is released when it is dropped. The release does not block.
#[derive(Debug)]
#[must_use = "the permit is released when this is dropped"]
pub struct ConcurrencyPermit {
    _held: PermitGuard,
}

impl Limiter {
    /// Creates a limit on the requests of a key that are in flight at once.
    ///
    /// The limit is from 1 to [`MAX_LIMIT`](crate::MAX_LIMIT). The name has 1 to
    /// [`MAX_NAME_LEN`](crate::MAX_NAME_LEN) printable ASCII characters.
    ///
    /// # Errors
    ///
    /// Returns [`Error::InvalidRule`] for an invalid limit or name, [`Error::DuplicateRule`] if a rule has the name,
    /// [`Error::ConcurrencyUnsupported`] if the storage does not support concurrency limits.
    pub fn concurrency(
        &self,
        name: impl Into<String>,
        limit: u64,
    ) -> Result<ConcurrencyLimit, Error> {
        let rule = Arc::new(Rule::new(name, limit, Duration::from_secs(1)).check()?);
        if self.rule(rule.name()).is_some() {
            return Err(Error::DuplicateRule(rule.name().to_owned()));
        }
        let permits = self.inner.storage.concurrency().ok_or(Error::ConcurrencyUnsupported)?;
        let counts =
            Arc::clone(self.inner.lock_concurrency().entry(rule.name().to_owned()).or_default());
        let limiter = Arc::clone(&self.inner);
        Ok(ConcurrencyLimit { shared: Arc::new(Shared { limiter, permits, rule, counts }) })
    }
}

impl ConcurrencyLimit {
    /// Acquires a permit of `key` if fewer than the limit are in use. It does not wait for one.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Storage`] if the storage failed.
    pub async fn try_acquire<'k>(&self, key: impl Into<Key<'k>>) -> Result<Acquired, Error> {
        self.acquire(&key.into(), true).await
    }

    /// Returns the number of permits of `key` that are in use.
    ///
    /// # Errors
    ///
    /// Returns [`Error::Storage`] if the storage failed.
    pub async fn in_use<'k>(&self, key: impl Into<Key<'k>>) -> Result<u64, Error> {
        let reply = self.shared.permits.in_use(&ConcurrencyKey::new(self.name(), &key.into()));
        Ok(reply.await?)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.rule.name()
    }

    /// Returns the number of permits of each key.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.shared.rule.limit()
    }

    /// Acquires a permit, as [`ConcurrencyLimit::try_acquire`] does: the entry point for adapters.
    ///
    /// If the storage answers at once, the reply is ready. With `counts`, an allowed request is counted in the metrics;
    /// pass `false` if a rule counts the same request. A denial is always counted.
    pub fn acquire(&self, key: &Key<'_>, counts: bool) -> Reply<Acquired, Error> {
        if let Some((list, left)) = self.shared.limiter.find_in_lists(key) {
            let rule = Arc::clone(&self.shared.rule);
            let decision = Decision::by_list(rule, list, 1, left).into_concurrency();
            let permit = decision.is_allowed().then(PermitGuard::uncounted);
            return Reply::ready(Ok(self.shared.acquired(key, decision, 0, permit, counts)));
        }
        let of = ConcurrencyKey::new(self.name(), key);
        match self.shared.permits.take(&of, self.limit()).into_ready() {
            Ok(answer) => Reply::ready(self.shared.answer(key, answer, counts)),
            Err(pending) => {
                let (shared, key) = (Arc::clone(&self.shared), key.clone().into_owned());
                Reply::pending(async move {
                    let answer = pending.await;
                    shared.answer(&key, answer, counts)
                })
            }
        }
    }
}

impl Shared {
    fn answer(
        &self,
        key: &Key<'_>,
        answer: Result<PermitReply, StorageError>,
        counts: bool,
    ) -> Result<Acquired, Error> {
        let reply = answer.map_err(|error| self.limiter.failed(error))?;
        let (in_use, degraded) = (reply.in_use(), reply.is_degraded());
        let permit = reply.into_permit();
        let verdict = Verdict {
            allowed: permit.is_some(),
            unlimited: permit.as_ref().is_some_and(|permit| !permit.is_counted()),
            remaining: self.rule.limit().saturating_sub(in_use),
            ..Verdict::default()
        };
        let decision = Decision::of_permits(Arc::clone(&self.rule), verdict, degraded);
        Ok(self.acquired(key, decision, in_use, permit, counts))
    }

    fn acquired(
        &self,
        key: &Key<'_>,
        decision: Decision,
        in_use: u64,
        permit: Option<PermitGuard>,
        counts: bool,
    ) -> Acquired {
        let allowed = decision.is_allowed();
        let stripe = Stripe::own();
        self.counts.add(stripe, true, allowed);
        if counts || !allowed {
            self.limiter.counts.add(stripe, true, allowed);
        }
        if !allowed {
            self.limiter.violations.add(key, &decision, self.limiter.now());
        }
        Acquired { decision, in_use, permit: permit.map(|held| ConcurrencyPermit { _held: held }) }
    }
}

impl Acquired {
    /// Returns whether the request is allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.permit.is_some()
    }

    /// Returns the number of permits of the key that are in use, including this one; 0 for a key in one of the
    /// limiter's lists.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Returns the number of permits of each key.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.decision.limit()
    }

    /// Returns the number of free permits of the key.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.decision.remaining()
    }

    /// Returns the decision to report to the client. It has no times, since it is not known when a permit is released.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Returns the permit, if the request is allowed.
    #[must_use]
    pub fn into_permit(self) -> Option<ConcurrencyPermit> {
        self.permit
    }

    /// Returns the decision, and the permit if the request is allowed.
    #[must_use]
    pub fn into_parts(self) -> (Decision, Option<ConcurrencyPermit>) {
        (self.decision, self.permit)
    }
}

impl fmt::Debug for ConcurrencyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConcurrencyLimit")
            .field("name", &self.name())
            .field("limit", &self.limit())
            .finish_non_exhaustive()
    }
}
