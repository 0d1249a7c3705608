//! What is counted.

use serde::Serialize;

/// Counts what was taken in batches, spent and given back.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct LeaseStats {
    /// Keys that are leased now.
    pub keys: u64,
    /// Permits that are held now.
    pub held: u64,
    /// Calls that asked the storage for a batch.
    pub fetched: u64,
    /// Permits that were taken by them.
    pub taken: u64,
    /// Permits that were spent here.
    pub spent: u64,
    /// Permits that were given back.
    pub given_back: u64,
    /// Permits that came to nothing: their window ended, or a call failed that took them or gave them
    /// back.
    pub expired: u64,
    /// Requests that were admitted without asking the storage.
    pub answered: u64,
    /// Requests that were refused without asking it, because it had nothing left a moment before.
    pub refused: u64,
    /// Requests that waited for a batch.
    pub waited: u64,
}
