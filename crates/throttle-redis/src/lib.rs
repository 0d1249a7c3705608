//! The Redis storage of RateThrottle: one script decides a whole request in one round trip.

#[allow(dead_code, unused_imports, reason = "the storage that calls it comes next")]
mod script;
