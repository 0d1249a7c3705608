//! The warning about servers that use different algorithms for the same rule.

use std::sync::{Mutex, PoisonError};

use crate::rule::error::quoted;

/// The maximum number of names that are logged, so that the warning cannot flood the log.
const MAX_NAMES: usize = 100;

/// Logs a warning that another algorithm has counted under this rule, once for each name.
#[cold]
pub fn warn_once(rule: &str) {
    static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.len() >= MAX_NAMES || logged.iter().any(|name| name == rule) {
        return;
    }
    logged.push(rule.to_owned());
    drop(logged);
    tracing::warn!(
        target: "ratethrottle::config",
        rule = quoted(rule),
        "another algorithm has recently counted requests under this rule name. Each algorithm has its own count, so \
         that up to twice the limit is allowed while both are in use. If a deployment changes the algorithm, this \
         ends within a window; otherwise give the rules different names"
    );
}
