//! Concurrency permits that the storage could not count, by failure mode.

use std::sync::Arc;

use throttle_core::{
    ConcurrencyKey, ConcurrencyStorage, PermitGuard, PermitReply, Reply, StorageError,
};

use super::{modes::FailureMode, state::Inner};

/// A concurrency storage that applies the failure modes: closed returns the error, open returns an
/// uncounted permit, local counts against this instance's share of the limit.
pub(super) struct FallbackPermits {
    inner: Arc<Inner>,
    shared: Arc<dyn ConcurrencyStorage>,
}

impl FallbackPermits {
    pub(super) fn new(inner: Arc<Inner>, shared: Arc<dyn ConcurrencyStorage>) -> Self {
        Self { inner, shared }
    }
}

impl ConcurrencyStorage for FallbackPermits {
    fn take(&self, of: &ConcurrencyKey<'_>, limit: u64) -> Reply<PermitReply> {
        match self.shared.take(of, limit).into_ready() {
            Ok(answer) => self.inner.taken(of, limit, answer),
            Err(pending) => {
                let inner = Arc::clone(&self.inner);
                let (name, key) = (of.name().to_owned(), of.key().clone().into_owned());
                pending.then(move |answer| {
                    inner.taken(&ConcurrencyKey::new(&name, &key), limit, answer)
                })
            }
        }
    }

    fn in_use(&self, of: &ConcurrencyKey<'_>) -> Reply<u64> {
        self.shared.in_use(of)
    }
}

impl Inner {
    /// Returns the storage's answer, or applies the failure mode of the name.
    fn taken(
        self: &Arc<Self>,
        of: &ConcurrencyKey<'_>,
        limit: u64,
        answer: Result<PermitReply, StorageError>,
    ) -> Reply<PermitReply> {
        let error = match answer {
            Ok(taken) => {
                self.answered();
                return Reply::ready(Ok(taken));
            }
            Err(error) => error,
        };
        self.failed(&error);
        let local = self.modes.local.as_ref().and_then(|local| local.storage.concurrency());
        match (self.modes.mode(of.name()), local) {
            (FailureMode::FailOpen, _) => {
                self.count(&self.counts.open);
                Reply::ready(Ok(PermitReply::permit(PermitGuard::uncounted(), 0).degraded()))
            }
            (FailureMode::Local, Some(permits)) => {
                self.count(&self.counts.local);
                let share = (limit / self.instances()).max(1);
                permits.take(of, share).map(PermitReply::degraded)
            }
            _ => {
                self.count(&self.counts.closed);
                Reply::ready(Err(error))
            }
        }
    }
}
