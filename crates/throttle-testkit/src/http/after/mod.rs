//! Queued requests, and charges that depend on the response.

mod limits;
mod outcomes;
mod shaping;

use crate::http::{adapter::Adapter, fixture::Fixture};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn after(&self) {
        self.outcomes().await;
        self.shaping().await;
    }
}
