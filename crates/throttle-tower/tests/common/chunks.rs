//! A body that a test sends piece by piece.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::sync::mpsc;

pub type Sender = mpsc::UnboundedSender<Result<Bytes, std::io::Error>>;

/// Yields what is sent to it, and ends when the sender is dropped.
#[derive(Debug)]
pub struct Chunks(mpsc::UnboundedReceiver<Result<Bytes, std::io::Error>>);

impl Chunks {
    pub fn new() -> (Sender, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self(receiver))
    }
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}
