//! What stands behind the adapter.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use tokio::sync::Notify;

/// Answers with the status that it is told; clones are the same.
#[derive(Clone, Default, Debug)]
pub struct Handler {
    calls: Arc<AtomicUsize>,
    finish: Arc<Notify>,
}

impl Handler {
    /// Answers with this status, such as `304`, and `x-from: handler`; where `later` stands behind it, when
    /// it is let; 200 where nothing is said.
    pub async fn answer(self, what: &str) -> Response<Bytes> {
        self.calls.fetch_add(1, SeqCst);
        if what.ends_with("later") {
            self.finish.notified().await;
        }
        let status = what.split(' ').next().and_then(|status| status.parse().ok());
        let mut response = Response::new(Bytes::new());
        *response.status_mut() = status.unwrap_or(StatusCode::OK);
        response.headers_mut().insert("x-from", HeaderValue::from_static("handler"));
        response
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    pub(super) fn finish(&self) {
        self.finish.notify_one();
    }
}
