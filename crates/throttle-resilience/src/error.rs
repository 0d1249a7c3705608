//! What wrappers say where a storage said nothing.

use std::time::Duration;

/// Says why a wrapper answers with an error of its own.
///
/// It is the source of the [`StorageError`](throttle_core::StorageError) that callers get.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage did not answer in time; nobody knows whether it will have done it.
    #[error(
        "no answer within {0:?}; the call may have been carried out, so it is not sent again. If this \
         is frequent, look at the storage, or give it a longer deadline"
    )]
    Late(Duration),
    /// The storage was not asked, because it failed too often lately.
    #[error("it failed too often lately and is not asked for a moment; the log says why")]
    CircuitOpen,
}
