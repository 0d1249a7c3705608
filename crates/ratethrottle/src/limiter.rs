//! Parts of rules and limiters: rates, allow and deny lists, metrics of single rules, errors.
//!
//! Start with [`Limiter`](crate::Limiter) and [`Rule`](crate::Rule).
//!
//! ```
//! use ratethrottle::{Limiter, Rule, Storage, limiter::{InvalidEntry, LimiterBuilder, Rate}};
//!
//! fn limiter(storage: impl Storage, rate: Rate) -> Result<Limiter, ratethrottle::Error> {
//!     let builder: LimiterBuilder = Limiter::builder(storage).recent_violations(50);
//!     let limiter = builder.build();
//!     limiter.add_rule(Rule::new("api", rate.limit(), rate.window()))?;
//!     Ok(limiter)
//! }
//!
//! fn allow(limiter: &Limiter, network: &str) -> Result<(), InvalidEntry> {
//!     limiter.allow_list().add(network)
//! }
//! ```

pub use throttle_core::{
    AllowList, AskKind, DenyList, Entry, InvalidEntry, InvalidRule, LimiterBuilder, ListMatch,
    MAX_KEY_LEN, MAX_LIMIT, MAX_LOG_LIMIT, MAX_NAME_LEN, MAX_WINDOW, MIN_WINDOW, Rate, RuleMetrics,
    RuleStatus, SharedLists, SharedListsMetrics, UnknownAlgorithm,
};
