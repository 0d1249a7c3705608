//! The statistics of leases.

use serde::Serialize;

/// Statistics of the leases of one instance.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug, Serialize)]
#[non_exhaustive]
pub struct LeaseStats {
    /// Keys that are leased now.
    pub keys: u64,
    /// Permits that are held now.
    pub held: u64,
    /// Calls that requested a batch from the storage.
    pub fetched: u64,
    /// Permits granted by these calls.
    pub taken: u64,
    /// Permits spent locally.
    pub spent: u64,
    /// Permits returned to the storage unspent.
    pub returned: u64,
    /// Permits that expired unspent: their window ended, or the call that granted or returned them
    /// failed.
    pub expired: u64,
    /// Requests that were allowed without calling the storage.
    pub allowed: u64,
    /// Requests that were rejected without calling the storage, because it had too little left a
    /// moment before.
    pub rejected: u64,
    /// Requests that waited for a batch.
    pub waited: u64,
}
