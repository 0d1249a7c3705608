//! A timeout that works in every executor.

use std::{future::Future, future::poll_fn, pin::Pin, pin::pin, task::Poll, time::Duration};

use tokio::runtime::Handle;

/// Waits for `future` for at most `span`, then drops it.
///
/// In a tokio runtime this uses the runtime's timer, which is much cheaper than a timer for any
/// executor.
pub(crate) async fn within<T>(span: Duration, future: impl Future<Output = T>) -> Option<T> {
    if Handle::try_current().is_ok() {
        return tokio::time::timeout(span, future).await.ok();
    }
    let mut future = pin!(future);
    let mut end = futures_timer::Delay::new(span);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => Pin::new(&mut end).poll(cx).map(|()| None),
    })
    .await
}
