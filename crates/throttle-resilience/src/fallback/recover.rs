//! The way back to the storage, when it answers again.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use super::{modes::FallbackChange, repay::repay, state::Inner};

impl Inner {
    /// Takes note of a call that went well.
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
            let figures = (&self.debts.repaid, &self.debts.forgiven);
            tracing::info!(repaid = ?figures.0, forgiven = ?figures.1, "the storage is back");
            self.modes.observers.tell(&FallbackChange::Restored);
        }
    }

    fn repay_in_background(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.debts.clear(); // there is no background
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

/// Says that debts are being charged, until it is dropped: also when the runtime ends the task.
struct Repaying(Arc<Inner>);

impl Drop for Repaying {
    fn drop(&mut self) {
        self.0.repaying.store(false, Relaxed);
    }
}
