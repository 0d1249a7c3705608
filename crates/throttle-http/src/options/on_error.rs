//! The handling of requests while the storage fails.

/// The handling of requests that the storage cannot check, because it fails.
///
/// [`on_rejection`](crate::Options::on_rejection) sets the response to rejected requests.
///
/// # Examples
///
/// ```
/// # mod ratethrottle { pub use throttle_http::*; pub mod options { pub use super::*; } }
/// use ratethrottle::{OnError, options::Options};
///
/// let fail_open = Options::new().on_error(OnError::Pass);
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub enum OnError {
    /// Reject the request with 503 and `Retry-After: 1`, so that no limit is exceeded unnoticed.
    #[default]
    Reject,
    /// Allow the request without a limit; its response has `X-RateLimit-Degraded: unlimited`.
    Pass,
}
