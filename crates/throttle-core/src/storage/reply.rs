//! Results that are ready or pending.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use super::{error::StorageError, request::ChargeRequest};

/// A result, or a boxed future of one. The result of an in-memory storage is ready at once, without a box.
///
/// It borrows nothing, so it can outlive its request.
#[must_use = "a call may be made only while its reply is awaited"]
pub struct Reply<T, E = StorageError>(Inner<T, E>);

enum Inner<T, E> {
    Ready(Option<Result<T, E>>),
    Pending(Pin<Box<dyn Future<Output = Result<T, E>> + Send>>),
}

impl<T, E> Reply<T, E> {
    /// Creates a reply that is ready.
    #[inline]
    pub fn ready(answer: Result<T, E>) -> Self {
        Self(Inner::Ready(Some(answer)))
    }

    /// Creates a reply that is ready when `future` completes.
    pub fn pending(future: impl Future<Output = Result<T, E>> + Send + 'static) -> Self {
        Self(Inner::Pending(Box::pin(future)))
    }

    /// Returns a reference to the answer, if it is ready.
    #[inline]
    pub(crate) fn as_ready(&self) -> Option<&Result<T, E>> {
        match &self.0 {
            Inner::Ready(answer) => answer.as_ref(),
            Inner::Pending(_) => None,
        }
    }

    /// Returns the answer if it is ready, without polling.
    ///
    /// # Errors
    ///
    /// Returns the reply itself if it is pending.
    #[inline]
    pub fn into_ready(self) -> Result<Result<T, E>, Self> {
        match self.0 {
            Inner::Ready(Some(answer)) => Ok(answer),
            inner => Err(Self(inner)),
        }
    }
}

/// Combinators. A reply that is ready stays ready, and nothing is boxed.
impl<T: Send + 'static, E: Send + 'static> Reply<T, E> {
    /// Converts the answer; an error is returned unchanged.
    ///
    /// ```
    /// # mod ratethrottle { pub use throttle_core::*; pub use throttle_core as storage; }
    /// use ratethrottle::{StorageError, storage::Reply};
    ///
    /// let reply: Reply<u32, StorageError> = Reply::ready(Ok(20)).map(|n| n + 1);
    /// assert!(matches!(reply.into_ready(), Ok(Ok(21))));
    /// ```
    #[inline]
    pub fn map<U: Send + 'static>(
        self,
        change: impl FnOnce(T) -> U + Send + 'static,
    ) -> Reply<U, E> {
        self.then(|answer| Reply::ready(answer.map(change)))
    }

    /// Makes another call with the answer; an error is returned unchanged.
    #[inline]
    pub fn and_then<U: Send + 'static>(
        self,
        next: impl FnOnce(T) -> Reply<U, E> + Send + 'static,
    ) -> Reply<U, E> {
        self.then(|answer| match answer {
            Ok(answer) => next(answer),
            Err(error) => Reply::ready(Err(error)),
        })
    }

    /// Calls `next` with the answer or the error.
    #[inline]
    pub fn then<U: Send + 'static, F: Send + 'static>(
        self,
        next: impl FnOnce(Result<T, E>) -> Reply<U, F> + Send + 'static,
    ) -> Reply<U, F> {
        match self.into_ready() {
            Ok(answer) => next(answer),
            Err(pending) => Reply::pending(async move { next(pending.await).await }),
        }
    }

    /// Calls `next` with the answer or the error, with its request, and with `context`, such as the calling
    /// [`Wrapper`](super::Wrapper).
    ///
    /// The request and the context are cloned only if the reply is pending.
    #[inline]
    pub fn then_with<C: Clone + Send + 'static, U: Send + 'static, F: Send + 'static>(
        self,
        context: &C,
        request: &ChargeRequest<'_>,
        next: impl FnOnce(&C, &ChargeRequest<'_>, Result<T, E>) -> Reply<U, F> + Send + 'static,
    ) -> Reply<U, F> {
        match self.into_ready() {
            Ok(answer) => next(context, request, answer),
            Err(pending) => {
                let (context, owned) = (context.clone(), request.to_owned());
                Reply::pending(async move {
                    let answer = pending.await;
                    owned.with(|request| next(&context, request, answer)).await
                })
            }
        }
    }
}

// The answer is never pinned: it is moved out.
impl<T, E> Unpin for Reply<T, E> {}

impl<T, E> Future for Reply<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            // Polled after completion, which has no defined result.
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

#[cfg(test)]
mod tests;
