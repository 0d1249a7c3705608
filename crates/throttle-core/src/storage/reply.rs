//! An answer that is there, or one that is on its way.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::error::StorageError;

/// Answers at once or later; memory answers at once, without boxing a future.
///
/// It borrows nothing, so that it can outlive the request that it was made for.
#[must_use = "a reply that nobody waits for may never happen"]
pub struct Reply<T, E = StorageError>(Inner<T, E>);

enum Inner<T, E> {
    Ready(Option<Result<T, E>>),
    Pending(Pin<Box<dyn Future<Output = Result<T, E>> + Send>>),
}

impl<T, E> Reply<T, E> {
    /// Answers at once.
    #[inline]
    pub fn ready(answer: Result<T, E>) -> Self {
        Self(Inner::Ready(Some(answer)))
    }

    /// Answers when `future` does.
    pub fn pending(future: impl Future<Output = Result<T, E>> + Send + 'static) -> Self {
        Self(Inner::Pending(Box::pin(future)))
    }

    /// Looks at an answer that is there, where it is.
    #[inline]
    pub(crate) fn as_ready(&self) -> Option<&Result<T, E>> {
        match &self.0 {
            Inner::Ready(answer) => answer.as_ref(),
            Inner::Pending(_) => None,
        }
    }

    /// Returns the answer if it is there: the way past polling.
    ///
    /// # Errors
    ///
    /// The reply itself, when the answer is still on its way.
    #[inline]
    pub fn into_ready(self) -> Result<Result<T, E>, Self> {
        match self.0 {
            Inner::Ready(Some(answer)) => Ok(answer),
            inner => Err(Self(inner)),
        }
    }
}

impl<T: Unpin, E: Unpin> Future for Reply<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // A future that is polled after it was ready may do anything but be unsound.
            Inner::Ready(answer) => answer.take().map_or(Poll::Pending, Poll::Ready),
            Inner::Pending(future) => future.as_mut().poll(cx),
        }
    }
}

impl<T, E> fmt::Debug for Reply<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Inner::Ready(_) => "Reply(ready)",
            Inner::Pending(_) => "Reply(pending)",
        })
    }
}
