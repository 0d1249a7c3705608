//! Durations and times as plain seconds, for `#[serde(serialize_with)]`.

use std::time::{Duration, SystemTime};

use serde::Serializer;

pub(crate) fn of<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(span.as_secs_f64())
}

pub(crate) fn of_option<S: Serializer>(
    span: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match span {
        Some(span) => serializer.serialize_some(&span.as_secs_f64()),
        None => serializer.serialize_none(),
    }
}

/// Writes the seconds since the Unix epoch; a time before it as 0.
pub(crate) fn since_epoch<S: Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    of(&time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(), serializer)
}
