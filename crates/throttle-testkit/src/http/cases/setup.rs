//! Shared options and rules of cases.

use std::time::Duration;

use throttle_core::{Algorithm, Rule};
use throttle_http::{Headers, Options};

/// Returns options that write the draft's fields and `Retry-After`, independent of the defaults.
pub(super) fn modern() -> Options {
    let headers = Headers::none().rate_limit(true).legacy(false).retry_after(true);
    Options::new().headers(headers.legacy_reset_as_unix_time(false))
}

/// Returns options that write all fields.
pub(super) fn every_field() -> Options {
    let headers = Headers::none().rate_limit(true).legacy(true).retry_after(true);
    Options::new().headers(headers.legacy_reset_as_unix_time(false))
}

/// Creates a rule whose windows begin at the start of a case.
pub(super) fn fixed(name: &str, limit: u64, window: Duration) -> Rule {
    Rule::new(name, limit, window).algorithm(Algorithm::FixedWindow)
}

/// Creates a rule of `limit` per minute, whose windows begin at the start of a case.
pub(super) fn api(limit: u64) -> Rule {
    fixed("api", limit, secs(60))
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
