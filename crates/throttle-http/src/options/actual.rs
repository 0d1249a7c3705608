//! Sources of the actual cost.

use std::{fmt, sync::Arc};

use crate::response_head::ResponseHead;

/// The sources of the actual cost, in addition to the handler.
#[derive(Clone, Default)]
pub(crate) struct Actual {
    /// The head of the response.
    pub(crate) by: Option<ActualBy>,
    /// The length of its body.
    pub(crate) bytes_sent: bool,
}

pub(crate) type ActualBy = Arc<dyn Fn(&ResponseHead<'_>) -> Option<u64> + Send + Sync>;

impl fmt::Debug for Actual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Actual")
            .field("by_response", &self.by.is_some())
            .field("bytes_sent", &self.bytes_sent)
            .finish()
    }
}
