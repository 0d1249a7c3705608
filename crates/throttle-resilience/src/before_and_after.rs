//! Work that is done before a call and again after it.

use throttle_core::Reply;

/// A guard that does its work when it is created, and again when it is dropped.
///
/// So the work is done after a call, too, where the call fails, panics or is dropped.
pub(crate) struct BeforeAndAfter<F: Fn()>(F);

impl<F: Fn() + Send + 'static> BeforeAndAfter<F> {
    pub(crate) fn new(work: F) -> Self {
        work();
        Self(work)
    }

    /// Ends with the answer of a call.
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
