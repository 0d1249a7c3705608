//! How it is found out what a request turned out to cost.

use std::{fmt, sync::Arc};

use crate::response_head::ResponseHead;

/// Says where the cost is known from, besides the handler.
#[derive(Clone, Default)]
pub(crate) struct Actual {
    /// From the head of the response.
    pub(crate) by: Option<ActualBy>,
    /// From the length of its body.
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
