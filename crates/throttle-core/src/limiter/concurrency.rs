//! How many requests of a key may be under way at once.

use std::{fmt, sync::Arc, time::Duration};

use super::{error::Error, handle::Limiter, inner::Inner, metrics::own_stripe};
use crate::{
    decision::Decision,
    key::Key,
    rule::{checked::CheckedRule, definition::Rule},
    storage::{ConcurrencyKey, ConcurrencyStorage, PermitGuard, PermitReply, Reply, StorageError},
};

/// Limits how many requests of a key are under way at once; made by [`Limiter::concurrency`].
///
/// It is a cheap handle: clones share everything. Limits of one name share their places also where
/// they were made apart and differ, so that one client may have more places than another.
///
/// The places are the storage's: those of [`MemoryStorage`] and of storages of your own are counted in
/// this process, those of Redis for all servers. The limiter's lists hold: a key that is allowed passes
/// and holds no place, one that is denied gets none.
///
/// # Examples
///
/// ```
/// # use throttle_core as ratethrottle;
/// use ratethrottle::{Error, Limiter};
///
/// async fn upload(limiter: &Limiter) -> Result<(), Error> {
///     let uploads = limiter.concurrency("uploads", 5)?;
///     let entered = uploads.try_acquire("user:42").await?;
///     let Some(place) = entered.into_permit() else {
///         println!("five are under way already");
///         return Ok(());
///     };
///     // … the work …
///     drop(place); // and so it is given back where the work panics, or is given up
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
    places: Arc<dyn ConcurrencyStorage>,
    /// Has the name and the limit; its window means nothing.
    rule: Arc<CheckedRule>,
}

/// Tells whether a request may begin, and holds its place.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct Acquired {
    decision: Decision,
    in_use: u64,
    place: Option<ConcurrencyPermit>,
}

/// Holds a place until it is dropped; nobody waits for its return.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct ConcurrencyPermit {
    _held: PermitGuard,
}

impl Limiter {
    /// Limits how many requests of a key are under way at once, from 1 to
    /// [`MAX_LIMIT`](crate::MAX_LIMIT), under a name of 1 to [`MAX_NAME_LEN`](crate::MAX_NAME_LEN)
    /// printable ASCII characters.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidRule`] for a limit or name that cannot be taken, [`Error::DuplicateRule`] when a
    /// rule has the name, [`Error::ConcurrencyUnsupported`] when the storage cannot keep places.
    pub fn concurrency(
        &self,
        name: impl Into<String>,
        limit: u64,
    ) -> Result<ConcurrencyLimit, Error> {
        let rule = Arc::new(Rule::new(name, limit, Duration::from_secs(1)).check()?);
        if self.rule(rule.name()).is_some() {
            return Err(Error::DuplicateRule(rule.name().to_owned()));
        }
        let places = self.inner.storage.concurrency().ok_or(Error::ConcurrencyUnsupported)?;
        self.inner.place_names().insert(rule.name().to_owned());
        let limiter = Arc::clone(&self.inner);
        Ok(ConcurrencyLimit { shared: Arc::new(Shared { limiter, places, rule }) })
    }
}

impl ConcurrencyLimit {
    /// Takes a place of `key`, if fewer than the limit are in use; it does not wait for one.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] when the storage could not decide.
    pub async fn try_acquire<'k>(&self, key: impl Into<Key<'k>>) -> Result<Acquired, Error> {
        self.acquire(&key.into(), true).await
    }

    /// Returns how many places of `key` are in use.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] when the storage cannot say.
    pub async fn in_use<'k>(&self, key: impl Into<Key<'k>>) -> Result<u64, Error> {
        let reply = self.shared.places.in_use(&ConcurrencyKey::new(self.name(), &key.into()));
        Ok(reply.await?)
    }

    /// Returns the name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.shared.rule.name()
    }

    /// Returns how many places a key has.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.shared.rule.limit()
    }

    /// Takes a place, as [`ConcurrencyLimit::try_acquire`] does. This is what adapters call: the reply is ready at
    /// once when the storage answers at once. `counts` says whether an admission is counted in the
    /// metrics, because no rule is asked that counts it; a refusal is in any case.
    pub fn acquire(&self, key: &Key<'_>, counts: bool) -> Reply<Acquired, Error> {
        if let Some((listed, left)) = self.shared.limiter.listed(key) {
            let rule = Arc::clone(&self.shared.rule);
            let decision = Decision::by_list(rule, listed, 1, left).as_concurrency();
            let place = decision.is_allowed().then(PermitGuard::uncounted);
            return Reply::ready(Ok(self.shared.entered(key, decision, 0, place, counts)));
        }
        let of = ConcurrencyKey::new(self.name(), key);
        match self.shared.places.take(&of, self.limit()).into_ready() {
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
        let taken = answer.map_err(|error| self.limiter.failed(error))?;
        let (in_use, degraded) = (taken.in_use(), taken.is_degraded());
        let place = taken.into_permit();
        let rule = Arc::clone(&self.rule);
        let decision = Decision::of_permits(rule, in_use, place.is_some(), degraded);
        Ok(self.entered(key, decision, in_use, place, counts))
    }

    fn entered(
        &self,
        key: &Key<'_>,
        decision: Decision,
        in_use: u64,
        place: Option<PermitGuard>,
        counts: bool,
    ) -> Acquired {
        let allowed = decision.is_allowed();
        if counts || !allowed {
            self.limiter.counts.add(own_stripe(), true, allowed);
        }
        if !allowed {
            self.limiter.violations.add(key, &decision, self.limiter.now());
        }
        Acquired { decision, in_use, place: place.map(|held| ConcurrencyPermit { _held: held }) }
    }
}

impl Acquired {
    /// Returns whether there is a place for the request.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.place.is_some()
    }

    /// Returns how many places of the key are in use, this one included; 0 for a key in one of the
    /// limiter's lists.
    #[must_use]
    pub fn in_use(&self) -> u64 {
        self.in_use
    }

    /// Returns how many places a key has.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.decision.limit()
    }

    /// Returns how many places of the key are free.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.decision.remaining()
    }

    /// Returns the same as a decision, to tell a client of; there is no time after which a place is
    /// free.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    /// Returns the place, if there is one.
    #[must_use]
    pub fn into_permit(self) -> Option<ConcurrencyPermit> {
        self.place
    }

    /// Returns the decision, and the place if there is one.
    #[must_use]
    pub fn into_parts(self) -> (Decision, Option<ConcurrencyPermit>) {
        (self.decision, self.place)
    }
}

impl fmt::Debug for ConcurrencyLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Concurrency")
            .field("name", &self.name())
            .field("limit", &self.limit())
            .finish_non_exhaustive()
    }
}
