//! The return to normal operation when the storage answers again.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{modes::FallbackChange, replay::replay, state::Inner};

impl Inner {
    /// Records a call that succeeded.
    #[inline]
    pub(super) fn answered(self: &Arc<Self>) {
        if self.degraded.load(Relaxed) {
            self.recover();
        }
    }

    #[cold]
    fn recover(self: &Arc<Self>) {
        if !self.deferred.is_empty() {
            self.replay_in_background();
        } else if !self.replaying.load(Relaxed)
            && self.is_calm()
            && self.degraded.swap(false, Relaxed)
        {
            let (replayed, dropped) = (&self.deferred.replayed, &self.deferred.dropped);
            tracing::info!(
                target: "ratethrottle::resilience",
                ?replayed, ?dropped, "the storage has recovered"
            );
            self.modes.observers.notify(&FallbackChange::Restored);
        }
    }

    fn replay_in_background(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.deferred.clear(); // replay needs a runtime
            return;
        };
        if !self.replaying.swap(true, Relaxed) {
            let replaying = Replaying(Arc::clone(self));
            runtime.spawn(self.pending.track(async move {
                replay(Arc::clone(&replaying.0)).await;
            }));
        }
    }

    /// Completes a replay in the background, and replays what is left until a call fails.
    pub(super) async fn replay_all(self: &Arc<Self>) {
        self.pending.wait().await;
        if !self.deferred.is_empty() {
            self.replay_in_background();
            self.pending.wait().await;
        }
    }
}

/// A guard of the replay task. Its drop allows another task to begin, even if the runtime ended
/// this one.
struct Replaying(Arc<Inner>);

impl Drop for Replaying {
    fn drop(&mut self) {
        self.0.replaying.store(false, Relaxed);
    }
}
