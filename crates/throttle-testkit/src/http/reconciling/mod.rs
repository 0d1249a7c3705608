//! Estimates that are reconciled with the actual cost.

mod bodies;
mod costs;
mod layers;
mod limits;

use crate::http::{adapter::Adapter, fixture::Fixture};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn reconciling(&self) {
        self.costs().await;
        self.bodies().await;
        self.layers().await;
    }
}
