//! What a function steps on.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

/// Panics once where it is stepped on after it was set; clones are the same trap.
#[derive(Clone, Default, Debug)]
pub struct Trap {
    is_set: Arc<AtomicBool>,
    sprung: Arc<AtomicUsize>,
}

impl Trap {
    pub(super) fn set(&self) {
        self.is_set.store(true, SeqCst);
    }

    pub(super) fn sprung(&self) -> usize {
        self.sprung.load(SeqCst)
    }

    /// Panics if the trap is set, without a word on standard error.
    ///
    /// # Panics
    ///
    /// As it says.
    pub fn spring(&self) {
        if self.is_set.swap(false, SeqCst) {
            self.sprung.fetch_add(1, SeqCst);
            resume_unwind(Box::new("a trap was set"));
        }
    }
}
