//! The state of a connection on the wire: the number of bytes that were written, and whether it has ended.
//!
//! A request may be sent again only if none of its bytes were written. A failed write does not prove this,
//! because the client's task may write again. So [`GuardedStream`] writes nothing after the first error or the end of
//! the stream. Then an unchanged count of written bytes proves that later requests were not written.

use std::{
    fmt, io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
    },
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    connect::Stream,
    resp_scanner::{MAX_REPLY, ReplyTooLarge, RespScanner},
};

/// The state of a connection on the wire.
pub(crate) struct Wire {
    written: AtomicU64,
    answers: AtomicU64,
    is_established: AtomicBool,
    ended: AtomicBool,
    too_large: OnceLock<ReplyTooLarge>,
    on_end: Box<dyn Fn() + Send + Sync>,
}

impl Wire {
    pub(super) fn new(on_end: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            written: AtomicU64::default(),
            answers: AtomicU64::default(),
            is_established: AtomicBool::default(),
            ended: AtomicBool::default(),
            too_large: OnceLock::new(),
            on_end: Box::new(on_end),
        })
    }

    /// Records that the handshake is over, so that larger answers are allowed.
    pub(crate) fn set_established(&self) {
        self.is_established.store(true, Relaxed);
    }

    /// Returns the number of bytes that were written.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Returns the number of answers that arrived.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// Returns whether the connection has ended: by the server, by an error, or because its stream was dropped.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    /// Returns whether no bytes were written since `written` was read, and none ever will be.
    ///
    /// Then requests that were handed over since that time were certainly not carried out.
    pub(crate) fn ended_unwritten_since(&self, written: u64) -> bool {
        // The order matters: after the end no more bytes are written, so the count is final.
        self.has_ended() && self.written() == written
    }

    /// Returns the error of an answer that was too large, if this ended the connection.
    pub(crate) fn too_large(&self) -> Option<io::Error> {
        self.too_large.get().map(|error| io::Error::from(*error))
    }

    fn end(&self) {
        if !self.ended.swap(true, Release) {
            (self.on_end)();
        }
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// A stream that bounds answers, counts written bytes, and writes nothing after its end.
pub(super) struct GuardedStream {
    stream: Stream,
    is_encrypted: bool,
    scanner: RespScanner,
    wire: Arc<Wire>,
}

impl GuardedStream {
    pub(super) fn new(stream: Stream, is_encrypted: bool, wire: Arc<Wire>) -> Self {
        Self { stream, is_encrypted, scanner: RespScanner::new(), wire }
    }

    /// Reads available bytes, until at least one is left after the scanner has removed bytes, or the stream ends.
    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
            let bytes = &mut buf.filled_mut()[before..];
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if self.wire.is_established.load(Relaxed) {
                self.scanner.set_limit(MAX_REPLY);
            }
            let kept = match self.scanner.scan(bytes) {
                Ok(kept) => kept,
                Err(error) => {
                    let error = *self.wire.too_large.get_or_init(|| error);
                    return Poll::Ready(Err(error.into()));
                }
            };
            self.wire.answers.store(self.scanner.complete(), Relaxed);
            buf.set_filled(before + kept);
            if kept > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn record_error<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if matches!(result, Poll::Ready(Err(_))) {
            self.wire.end();
        }
        result
    }
}

impl AsyncRead for GuardedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = self.read(cx, buf);
        if result.is_ready() && buf.filled().len() == before {
            self.wire.end(); // the end of the stream
        }
        self.record_error(result)
    }
}

impl AsyncWrite for GuardedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.wire.ended.load(Relaxed) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        let written = match &result {
            Poll::Ready(Ok(count)) => *count,
            // TLS may have sent a part before it failed, and does not report how much. So all bytes count as
            // written.
            Poll::Ready(Err(_)) if self.is_encrypted => bytes.len(),
            _ => 0,
        };
        self.wire.written.fetch_add(written as u64, Relaxed);
        self.record_error(result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.record_error(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for GuardedStream {
    /// Ends the connection: the task that owned the stream has ended, perhaps with its runtime.
    fn drop(&mut self) {
        self.wire.end();
    }
}
