//! The return to normal operation when the storage answers again.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{modes::FallbackChange, repay::repay, state::Inner};

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
        if !self.debts.is_empty() {
            self.repay_in_background();
        } else if !self.repaying.load(Relaxed)
            && self.is_calm()
            && self.degraded.swap(false, Relaxed)
        {
            let (replayed, dropped) = (&self.debts.repaid, &self.debts.forgiven);
            tracing::info!(?replayed, ?dropped, "the storage has recovered");
            self.modes.observers.notify(&FallbackChange::Restored);
        }
    }

    fn repay_in_background(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.debts.clear(); // replay needs a runtime
            return;
        };
        if !self.repaying.swap(true, Relaxed) {
            let repaying = Repaying(Arc::clone(self));
            runtime.spawn(async move {
                repay(Arc::clone(&repaying.0)).await;
            });
        }
    }
}

/// A guard of the replay task. Its drop allows another task to begin, also if the runtime ended
/// this one.
struct Repaying(Arc<Inner>);

impl Drop for Repaying {
    fn drop(&mut self) {
        self.0.repaying.store(false, Relaxed);
    }
}
