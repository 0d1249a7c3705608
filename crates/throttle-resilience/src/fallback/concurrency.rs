//! Places that the storage cannot count, by the mode of their name.

use std::sync::Arc;

use throttle_core::{
    ConcurrencyKey, ConcurrencyStorage, PermitGuard, PermitReply, Reply, StorageError,
};

use super::{modes::FailureMode, state::Inner};

/// Answers by the modes what the storage cannot: closed fails, open holds no place, local counts this
/// server's share of them.
pub(super) struct FallbackPlaces {
    inner: Arc<Inner>,
    shared: Arc<dyn ConcurrencyStorage>,
}

impl FallbackPlaces {
    pub(super) fn new(inner: Arc<Inner>, shared: Arc<dyn ConcurrencyStorage>) -> Self {
        Self { inner, shared }
    }
}

impl ConcurrencyStorage for FallbackPlaces {
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
    /// Passes on what the storage answered, or answers by the mode of the name.
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
            (FailureMode::Local, Some(places)) => {
                self.count(&self.counts.local);
                let share = (limit / self.servers()).max(1);
                places.take(of, share).map(PermitReply::degraded)
            }
            _ => {
                self.count(&self.counts.closed);
                Reply::ready(Err(error))
            }
        }
    }
}
