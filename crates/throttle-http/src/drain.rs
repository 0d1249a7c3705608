//! Draining of rejected requests: their bodies are read and discarded, so that clients receive the rejection.

use std::{
    future::poll_fn,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::Poll,
    time::Duration,
};

use bytes::Buf;
use http::{Request, Version, header::EXPECT};
use http_body::Body;
use throttle_core::{Clock, SystemClock};
use tokio::runtime::Handle;

/// The maximum number of bodies that a process drains at the same time.
const MAX_DRAINS: usize = 256;
/// The interval of the checks: a drain ends after an interval in which nothing arrived. It is short, because a
/// proxy that stops sending may wait until the connection closes.
const TICK: Duration = Duration::from_millis(250);
/// The longest drain, in intervals: 5 seconds.
const MAX_TICKS: u32 = 20;
/// The maximum number of frames that are read before other tasks run and the time is checked. A body may always
/// be ready, for example if a layer decompresses it.
const MAX_FRAMES: usize = 32;

static DRAINS: AtomicUsize = AtomicUsize::new(0);

/// Reads the body of a rejected request in a task of the tokio runtime, and discards it.
///
/// If a server stops reading a body, it closes the connection. A client or proxy that is still sending then
/// sees a connection reset instead of the rejection. With a drain, an HTTP/1 connection stays open, and it can
/// be reused if the body ends.
///
/// A drain ends after `max_bytes`, after 5 seconds, or 250 to 500 milliseconds after the last byte. The body is
/// dropped unread
///
/// - if it is empty, or `max_bytes` is 0;
/// - if the process is already draining 256 bodies;
/// - over HTTP/2, where a server can end one stream without closing the connection;
/// - if the request has `Expect`, because its client waits for the response before it sends the body;
/// - outside of a tokio runtime.
///
/// # Examples
///
/// The response of an adapter to a rejected request:
///
/// ```
/// use http::{Request, Response};
/// use http_body::Body;
/// use bytes::Bytes;
/// use throttle_http::{ResponseBody, drain_body};
///
/// fn reject<B, R>(request: Request<B>, response: Response<Bytes>) -> Response<ResponseBody<R>>
/// where
///     B: Body + Send + 'static,
/// {
///     drain_body(request, 1024 * 1024);
///     response.map(ResponseBody::rejection)
/// }
/// ```
pub fn drain_body<B>(request: Request<B>, max_bytes: u64)
where
    B: Body + Send + 'static,
{
    if max_bytes == 0
        || is_empty(request.body())
        || request.version() > Version::HTTP_11
        || request.headers().contains_key(EXPECT)
    {
        return;
    }
    let Ok(runtime) = Handle::try_current() else { return };
    let Some(slot) = Slot::acquire(&DRAINS) else { return };
    let body = request.into_body();
    runtime.spawn(async move {
        drain(body, max_bytes, &SystemClock).await;
        drop(slot);
    });
}

fn is_empty(body: &impl Body) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

/// Reads a body until it ends or fails, or until a bound is reached.
async fn drain(body: impl Body, max_bytes: u64, clock: &impl Clock) {
    let mut body = pin!(body);
    let mut left = max_bytes;
    for _ in 0..MAX_TICKS {
        let before = left;
        let mut tick = clock.sleep(TICK);
        let is_over = poll_fn(|cx| {
            for _ in 0..MAX_FRAMES {
                match body.as_mut().poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let length = frame.data_ref().map_or(0, Buf::remaining) as u64;
                        left = left.saturating_sub(length.max(1)); // an empty frame counts, or such frames would never end
                        if left == 0 {
                            return Poll::Ready(true);
                        }
                    }
                    Poll::Ready(_) => return Poll::Ready(true),
                    Poll::Pending => return tick.as_mut().poll(cx).map(|()| false),
                }
            }
            cx.waker().wake_by_ref();
            tick.as_mut().poll(cx).map(|()| false)
        })
        .await;
        if is_over || left == before {
            return;
        }
    }
}

/// A slot for one drain; dropping it frees the slot.
struct Slot(&'static AtomicUsize);

impl Slot {
    fn acquire(drains: &'static AtomicUsize) -> Option<Self> {
        // The counter may exceed the maximum for a moment. At worst another body is dropped unread.
        let slot = Self(drains);
        (drains.fetch_add(1, Relaxed) < MAX_DRAINS).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests;
