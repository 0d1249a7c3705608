//! A connection's bytes: how many were written, and whether it is ended.

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

/// What is known about a connection from its bytes.
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

    /// Notes that the connection is made: its answers may be larger from now on.
    pub(crate) fn set_established(&self) {
        self.is_established.store(true, Relaxed);
    }

    /// Returns how many bytes were written so far.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Returns how many answers came so far.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Relaxed)
    }

    /// Whether the connection has ended by itself or by the server: one that is given up here has not, until it is
    /// dropped.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    /// Whether nothing was written since `written` was read, and nothing ever will be: then what was handed
    /// ended since was not carried out, for certain.
    pub(crate) fn ended_unwritten_since(&self, written: u64) -> bool {
        // In this order: nothing is written any more once it is ended.
        self.has_ended() && self.written() == written
    }

    /// Returns the error of an answer that was too long, for which the connection was ended.
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

/// A stream whose answers are bounded, and on which nothing is written after its end.
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

    /// Reads what is there, at least one byte of which is left.
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
            self.wire.end(); // nothing more comes
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
            // TLS may have sent some of them before it failed, and does not report how many.
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
    /// The task that it belongs to has ended, maybe with its runtime.
    fn drop(&mut self) {
        self.wire.end();
    }
}
