//! Waits that end.

use std::{future::Future, future::poll_fn, pin::Pin, pin::pin, task::Poll, time::Duration};

use tokio::runtime::Handle;

/// Waits for `future`, but no longer than `span`; then it is dropped.
///
/// Within a tokio runtime the runtime's timer is used, which costs a fraction of one that any executor
/// can wait for.
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
