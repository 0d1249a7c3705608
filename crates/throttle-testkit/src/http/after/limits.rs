//! Services with one rule.

use std::time::Duration;

use throttle_core::{Algorithm, Rule};
use throttle_http::Options;

use crate::http::{
    adapter::Adapter,
    fixture::{App, Fixture},
};

pub(super) const WINDOW: Duration = Duration::from_secs(60);

impl<A: Adapter> Fixture<'_, A> {
    /// Creates a service with a fixed window.
    pub(super) async fn windows(&self, limit: u64, options: Options) -> App<'_, A> {
        let rule = Rule::new("api", limit, WINDOW).algorithm(Algorithm::FixedWindow);
        self.serve([rule], [options]).await
    }

    /// Creates a service with a queue for `burst` requests, which allows one request per second.
    pub(super) async fn queue(&self, burst: u64, options: Options) -> App<'_, A> {
        let rule = Rule::per_second("api", 1).algorithm(Algorithm::LeakyBucket).burst(burst);
        self.serve([rule], [options]).await
    }
}
