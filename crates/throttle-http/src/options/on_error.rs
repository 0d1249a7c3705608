//! The handling of requests while the storage fails.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::Response;
use throttle_core::Error;

/// The handling of requests that the storage cannot check, because it fails.
///
/// # Examples
///
/// ```
/// use http::{Response, StatusCode};
/// # mod ratethrottle { pub use throttle_http::*; pub mod options { pub use super::*; } }
/// use ratethrottle::{OnError, options::Options};
///
/// let open = Options::new().on_error(OnError::Pass);
/// let own = Options::new().on_error(OnError::respond_with(|_error| {
///     let mut response = Response::new("retry in a minute");
///     *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
///     response
/// }));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum OnError {
    /// Reject the request with 503 and `Retry-After: 1`, so that no limit is exceeded unnoticed.
    #[default]
    Reject,
    /// Allow the request without a limit; its response has `X-RateLimit-Degraded: unlimited`.
    Pass,
    /// Reject the request with a custom response; see [`OnError::respond_with`].
    RespondWith(RespondWith),
}

/// A function that makes a response from an error.
pub(crate) type RespondWith = Arc<dyn Fn(&Error) -> Response<Bytes> + Send + Sync>;

impl OnError {
    /// Rejects requests with the response that the function returns. It is sent unchanged, so set its status.
    ///
    /// The error is for logs: its text can contain the names of servers.
    #[must_use]
    pub fn respond_with<T: Into<Bytes>>(
        answer: impl Fn(&Error) -> Response<T> + Send + Sync + 'static,
    ) -> Self {
        Self::RespondWith(Arc::new(move |error| answer(error).map(Into::into)))
    }
}

impl fmt::Debug for OnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reject => "Reject",
            Self::Pass => "Pass",
            Self::RespondWith(_) => "RespondWith(…)",
        })
    }
}
