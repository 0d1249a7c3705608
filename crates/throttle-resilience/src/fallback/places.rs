//! Places that the storage cannot count, by the mode of their name.

use std::sync::Arc;

use throttle_core::{HeldPlace, Key, PlaceStorage, PlacesOf, Reply, StorageError, Taken};

use super::{Inner, Mode};

/// Answers by the modes what the storage cannot: closed fails, open holds no place, local counts this
/// server's share of them.
pub(super) struct FallbackPlaces {
    inner: Arc<Inner>,
    shared: Arc<dyn PlaceStorage>,
}

impl FallbackPlaces {
    pub(super) fn new(inner: Arc<Inner>, shared: Arc<dyn PlaceStorage>) -> Self {
        Self { inner, shared }
    }
}

impl PlaceStorage for FallbackPlaces {
    fn take(&self, of: &PlacesOf<'_>, limit: u64) -> Reply<Taken> {
        match self.shared.take(of, limit).into_ready() {
            Ok(Ok(taken)) => {
                self.inner.answered();
                Reply::ready(Ok(taken))
            }
            Ok(Err(error)) => self.inner.take_without(of, limit, error),
            Err(pending) => {
                let inner = Arc::clone(&self.inner);
                let (name, key) = (of.name().to_owned(), of.key().clone().into_owned());
                Reply::pending(async move {
                    match pending.await {
                        Ok(taken) => {
                            inner.answered();
                            Ok(taken)
                        }
                        Err(error) => {
                            let key: &Key<'_> = &key;
                            let of = PlacesOf::new(&name, key);
                            let reply = inner.take_without(&of, limit, error);
                            reply.await
                        }
                    }
                })
            }
        }
    }

    fn in_use(&self, of: &PlacesOf<'_>) -> Reply<u64> {
        self.shared.in_use(of)
    }
}

impl Inner {
    fn take_without(&self, of: &PlacesOf<'_>, limit: u64, error: StorageError) -> Reply<Taken> {
        self.failed(&error);
        let local = self.modes.local.as_ref().and_then(|local| local.storage.places());
        match (self.modes.mode(of.name()), local) {
            (Mode::Open, _) => {
                self.count(&self.counts.open);
                Reply::ready(Ok(Taken::place(HeldPlace::uncounted(), 0).degraded()))
            }
            (Mode::Local, Some(places)) => {
                self.count(&self.counts.local);
                let share = (limit / self.servers()).max(1);
                match places.take(of, share).into_ready() {
                    Ok(answer) => Reply::ready(answer.map(Taken::degraded)),
                    Err(pending) => Reply::pending(async move { Ok(pending.await?.degraded()) }),
                }
            }
            _ => {
                self.count(&self.counts.closed);
                Reply::ready(Err(error))
            }
        }
    }
}
