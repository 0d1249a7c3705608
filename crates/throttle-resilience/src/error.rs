//! Errors that a wrapper returns itself, without an answer from the storage.

use std::time::Duration;

/// The reason for an error that a wrapper itself returns.
///
/// Callers find it as the source of the [`StorageError`](throttle_core::StorageError).
#[derive(Copy, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage did not answer within the deadline. The call may still have been carried out.
    #[error(
        "no answer within {0:?}; the call may have been carried out, so it is not retried. If this \
         is frequent, check the storage or set a longer deadline"
    )]
    Late(Duration),
    /// The circuit is open: the storage failed too often recently and was not called.
    #[error(
        "the circuit is open: the storage failed too often and is temporarily not called; see the log for \
         the cause"
    )]
    CircuitOpen,
}

throttle_core::debug_as_text!(Error);
