//! Options and rules of requests that are reconciled.

use std::time::Duration;

use throttle_core::{Algorithm, Rule};
use throttle_http::Options;

use crate::http::{
    adapter::Adapter,
    fixture::{App, Fixture},
};

pub(super) const ESTIMATE: u64 = 10;
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// Returns options with an estimate that is reconciled with the cost that the handler reports.
pub(super) fn actual() -> Options {
    Options::new().cost(ESTIMATE).charge_actual()
}

pub(super) fn tokens(limit: u64) -> Rule {
    Rule::new("tokens", limit, WINDOW).algorithm(Algorithm::FixedWindow)
}

pub(super) fn day(limit: u64) -> Rule {
    Rule::per_day("day", limit).algorithm(Algorithm::FixedWindow)
}

impl<A: Adapter> Fixture<'_, A> {
    /// Creates a service with a limit of a hundred tokens per window.
    pub(super) async fn hundred(&self, options: Options) -> App<'_, A> {
        self.serve([tokens(100)], [options]).await
    }
}
