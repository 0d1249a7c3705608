//! The cases, by what they are about.

mod attacks;
mod concurrency;
mod costs;
mod fields;
mod grpc;
mod identity;
mod limits;
mod lists;
mod lookups;
mod missing;
mod nested;
mod plans;
mod refusals;
mod targets;

use std::time::Duration;

use throttle_core::{Algorithm, Rule};
use throttle_http::{Headers, Options};

use super::Case;

/// Returns the table of one layer.
#[must_use]
pub fn all() -> Vec<Case> {
    [
        limits::cases(),
        fields::cases(),
        refusals::cases(),
        lists::cases(),
        identity::cases(),
        missing::cases(),
        attacks::cases(),
        targets::cases(),
        plans::cases(),
        lookups::cases(),
        costs::cases(),
        grpc::cases(),
        concurrency::cases(),
    ]
    .concat()
}

/// Returns the cases of a layer within another.
#[must_use]
pub fn nested() -> Vec<Case> {
    nested::cases()
}

/// Writes the draft's fields and `Retry-After`; said in full, whatever the defaults are.
fn modern() -> Options {
    let headers = Headers::none().draft_10(true).legacy(false).retry_after(true);
    Options::new().headers(headers.legacy_reset_as_unix_time(false))
}

/// Writes every field there is.
fn every_field() -> Options {
    let headers = Headers::none().draft_10(true).legacy(true).retry_after(true);
    Options::new().headers(headers.legacy_reset_as_unix_time(false))
}

/// Counts in windows that begin where the history of a case does.
fn fixed(name: &str, limit: u64, window: Duration) -> Rule {
    Rule::new(name, limit, window).algorithm(Algorithm::FixedWindow)
}

/// Admits so many in a minute that begins where the history of a case does.
fn api(limit: u64) -> Rule {
    fixed("api", limit, secs(60))
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
