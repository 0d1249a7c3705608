//! The body of a rejected request: it is read and discarded, so that its client receives the rejection.

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

/// How many bodies are read at once in a process.
const MAX_DRAINS: usize = 256;
/// A drain ends after a tick in which nothing arrived. It is short, since a proxy that stops sending may wait
/// for the connection to close.
const TICK: Duration = Duration::from_millis(250);
/// How many ticks a drain lasts at most: 5 seconds.
const MAX_TICKS: u32 = 20;
/// How many frames are read before other tasks run and the time is checked: a body that a layer decompresses may
/// always be ready.
const MAX_FRAMES: usize = 32;

static DRAINS: AtomicUsize = AtomicUsize::new(0);

/// Reads the body of a rejected request in a task of the tokio runtime, and discards it.
///
/// A server that stops reading a body closes the connection, and a client that is still sending, or a proxy in
/// front, then sees a reset instead of the rejection. Over HTTP/1 the connection stays open meanwhile, and is
/// reused where the body ends.
///
/// A drain ends after `max_bytes`, after 5 seconds, or 250 to 500 milliseconds after the last byte. A process
/// drains at most 256 bodies at once. The body is dropped unread
///
/// - where it is empty, `max_bytes` is 0, or 256 bodies are being drained;
/// - over HTTP/2, where a server ends one stream without closing the connection;
/// - of a request with `Expect`, whose client sends no body before it has read the response;
/// - outside of a tokio runtime.
///
/// # Examples
///
/// An adapter, for a request that is rejected:
///
/// ```
/// use http::{Request, Response};
/// use http_body::Body;
/// use throttle_http::{Rejection, ResponseBody, drain_body};
///
/// fn reject<B, R>(request: Request<B>, rejection: Rejection) -> Response<ResponseBody<R>>
/// where
///     B: Body + Send + 'static,
/// {
///     let response = rejection.into_response_to(request.method());
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

/// Reads a body until it ends or fails, or one of the bounds is reached.
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
                        left = left.saturating_sub(length.max(1)); // empty frames end, too
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

/// One of the bodies that are drained at once.
struct Slot(&'static AtomicUsize);

impl Slot {
    fn acquire(drains: &'static AtomicUsize) -> Option<Self> {
        // One that finds none free counts for a moment, and at worst another is dropped unread.
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
