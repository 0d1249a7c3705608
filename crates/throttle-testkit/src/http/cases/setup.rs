//! The options and rules that cases share.

use std::time::Duration;

use throttle_core::{Algorithm, Rule};
use throttle_http::{Headers, Options};

/// Writes the draft's fields and `Retry-After`; said in full, whatever the defaults are.
pub(super) fn modern() -> Options {
    let headers = Headers::none().draft_10(true).legacy(false).retry_after(true);
    Options::new().headers(headers.legacy_reset_as_unix_time(false))
}

/// Writes every field there is.
pub(super) fn every_field() -> Options {
    let headers = Headers::none().draft_10(true).legacy(true).retry_after(true);
    Options::new().headers(headers.legacy_reset_as_unix_time(false))
}

/// Counts in windows that begin where the history of a case does.
pub(super) fn fixed(name: &str, limit: u64, window: Duration) -> Rule {
    Rule::new(name, limit, window).algorithm(Algorithm::FixedWindow)
}

/// Admits so many in a minute that begins where the history of a case does.
pub(super) fn api(limit: u64) -> Rule {
    fixed("api", limit, secs(60))
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
