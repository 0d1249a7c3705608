//! Servers that count by different algorithms under the name of one rule.

use std::sync::{Mutex, PoisonError};

use crate::rule::error::quoted;

/// Of so many names it is logged, so that nothing fills a log.
const MOST: usize = 100;

/// Logs that a rule of this name was found counted by another algorithm, once for each name.
#[cold]
pub fn warn_once(rule: &str) {
    static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.len() >= MOST || logged.iter().any(|name| name == rule) {
        return;
    }
    logged.push(rule.to_owned());
    drop(logged);
    tracing::warn!(
        rule = quoted(rule),
        "a rule of this name was counted by another algorithm a moment ago; each algorithm counts by itself, so \
         that while both are in use up to twice the limit passes. After a deployment that changes the algorithm \
         this is over within a window; otherwise give the rules different names"
    );
}
