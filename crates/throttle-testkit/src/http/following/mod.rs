//! Requests that wait for their turn, and those whose charge depends on their response.

mod limits;
mod outcomes;
mod turns;

use crate::http::{adapter::Adapter, fixture::Fixture};

impl<A: Adapter> Fixture<'_, A> {
    pub(super) async fn following(&self) {
        self.outcomes().await;
        self.turns().await;
    }
}
