//! Work that runs before a call and again after it.

use throttle_core::Reply;

/// A guard that runs its work when it is created, and again when it is dropped.
///
/// So the work also runs after a call that fails, panics or is dropped.
pub(crate) struct BeforeAndAfter<F: Fn()>(F);

impl<F: Fn() + Send + 'static> BeforeAndAfter<F> {
    pub(crate) fn new(work: F) -> Self {
        work();
        Self(work)
    }

    /// Drops the guard when the call has completed.
    pub(crate) fn until<T: Send + 'static>(self, reply: Reply<T>) -> Reply<T> {
        reply.then(move |answer| {
            drop(self);
            Reply::ready(answer)
        })
    }
}

impl<F: Fn()> Drop for BeforeAndAfter<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
