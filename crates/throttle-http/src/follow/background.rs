//! What is to be done also where nobody waits for it any more.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use tokio::runtime::Handle;

/// Has work done by a task of the tokio runtime that this thread is in.
///
/// What a storage in memory does is done when this returns. Without a runtime, work that has to wait is
/// only begun.
pub(super) fn finish(work: impl Future<Output = ()> + Send + 'static) {
    let mut work: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(work);
    if let Poll::Ready(()) = work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        return;
    }
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(work);
    }
}
