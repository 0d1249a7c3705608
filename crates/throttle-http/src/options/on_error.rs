//! What it means that a storage failed.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::Response;
use throttle_core::Error;

/// Says what is done with a request when the storage could not decide about it.
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
///     let mut response = Response::new("come back in a minute");
///     *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
///     response
/// }));
/// ```
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum OnError {
    /// It is refused with 503 and `Retry-After: 1`: no limit is passed unseen.
    #[default]
    Reject,
    /// It passes without a limit; its response has `X-RateLimit-Degraded: unlimited`.
    Pass,
    /// It is refused with a response of one's own; see [`OnError::respond_with`].
    RespondWith(RespondWith),
}

/// Makes a response of an error.
pub(crate) type RespondWith = Arc<dyn Fn(&Error) -> Response<Bytes> + Send + Sync>;

impl OnError {
    /// Refuses with a response of one's own, which is sent as it is: set its status. The error is for
    /// logs: it can name servers.
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
