//! Requests that are charged an estimate and settled to what they turned out to cost.

mod bodies;
mod costs;
mod layers;
mod limits;

use crate::http::{adapter::Adapter, fixture::Fixture};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn settling(&self) {
        self.costs().await;
        self.bodies().await;
        self.layers().await;
    }
}
