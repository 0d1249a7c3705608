//! A panic that a test triggers inside a function.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

/// A trap that panics once after it is set; clones share its state.
#[derive(Clone, Default, Debug)]
pub(crate) struct Trap {
    is_set: Arc<AtomicBool>,
    sprung: Arc<AtomicUsize>,
}

impl Trap {
    pub(crate) fn set(&self) {
        self.is_set.store(true, SeqCst);
    }

    pub(crate) fn sprung(&self) -> usize {
        self.sprung.load(SeqCst)
    }

    /// Panics if the trap is set, without a message on standard error.
    pub(crate) fn spring(&self) {
        if self.is_set.swap(false, SeqCst) {
            self.sprung.fetch_add(1, SeqCst);
            resume_unwind(Box::new("a trap was set"));
        }
    }
}
