//! The path of a request. [`Throttle::check`] decides, [`Pass::attach`] shows the decisions to the handler,
//! [`Attached::finish`] adjusts the charge to the response, and [`Done::write`] writes the header fields.
//!
//! - `check`: exemptions, cost and key; `rules`: the rules that are checked
//! - `async_key`: asynchronous keys
//! - `acquire`: permits of concurrency limits, before the rules
//! - `keyed`: requests whose key is needed after the decision
//! - `shaping`: delays until the scheduled time
//! - `judge`: converts the limiter's answer to a [`Pass`] or [`Rejected`]; `health` logs failures of the storage
//! - `respond`: the response to a rejected request
//! - `pass`: the steps of an adapter for an allowed request; `response_fields`: its header fields
//! - `after`: the steps after the decision: refunds, reconciliation, permits
//! - `future`: the state machine of a request, for adapters that return a future

mod acquire;
mod after;
mod async_key;
mod check;
mod future;
mod health;
mod judge;
mod keyed;
mod pass;
mod respond;
mod response_fields;
mod rules;
mod shaping;

use std::{
    fmt,
    sync::{Arc, Once},
};

use throttle_core::{Decisions, Error, Limiter, Rule};

pub(crate) use self::after::charge::ChargeGuard;
use self::health::Health;
pub use self::{
    after::{
        actual_cost::ActualCost,
        body_guard::BodyGuard,
        done::Done,
        in_flight::{InFlight, InFlightGuard},
    },
    future::{Call, LimitedFuture},
    pass::{Attached, Pass},
};
use crate::{
    config_error::ConfigError,
    config_warning::ConfigWarning,
    diagnostics::{Diagnostics, warn_about_dropped_limiter, warn_about_rules},
    fields::Fields,
    options::Options,
    rejection,
};

/// A limiter with [`Options`], which checks HTTP requests. Adapters are built on it.
pub struct Throttle {
    limiter: Limiter,
    options: Options,
    fields: Fields,
    health: Health,
    diagnostics: Diagnostics,
    no_peer: Once,
    no_rule: Once,
    wants_route: bool,
    waits_for_key: bool,
    /// Whether an option needs the key of a request after the decision.
    keeps_key: bool,
}

impl Throttle {
    /// Checks the options against the limiter, and adds their rules to it.
    ///
    /// If it fails, the limiter is unchanged.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] for an invalid rate or rule, for a named or declared rule that is unknown (the
    /// text lists the known ones), for a limiter without rules, and for an invalid key, path or cost.
    pub fn new(limiter: Limiter, options: Options) -> Result<Self, ConfigError> {
        let mut added = Vec::new();
        let throttle = add_rules(&limiter, &options, &mut added)
            .and_then(|()| Self::with_rules(limiter.clone(), options));
        if throttle.is_err() {
            added.iter().for_each(|name| _ = limiter.remove_rule(name));
        }
        throttle
    }

    fn with_rules(limiter: Limiter, mut options: Options) -> Result<Self, ConfigError> {
        validate(&limiter, &options)?;
        if !options.enabled {
            // For adapters that do not skip the check. An exemption costs enabled limits nothing.
            options.exempt = vec![Arc::new(|_| true)];
        }
        let fields = Fields::new(options.headers)?;
        let waits_for_key = options.key.is_async();
        if options.select_rules.is_none() && !waits_for_key && !options.selection.is_empty() {
            let rules =
                limiter.validate_rules(options.selection.names()).map_err(ConfigError::Rules)?;
            let cost = options.cost.as_ref().and_then(|cost| cost.constant());
            warn_about_rules(&rules, cost, options.shape.is_some());
        }
        if options.select_rules.is_none() && !waits_for_key && !options.declared.is_empty() {
            ConfigWarning::DeclaredInVain.log();
        }
        limiter.record_applied(applied_rules(&options));
        let keeps_key = options.charge_if.is_some()
            || options.shape.is_some()
            || options.actual.is_some()
            || fields.wants_key();
        let health = Health::new(&limiter, describe_rules(&options));
        Ok(Self {
            diagnostics: Diagnostics::new(&options.key),
            wants_route: options.key.wants_route(),
            limiter,
            options,
            fields,
            health,
            no_peer: Once::new(),
            no_rule: Once::new(),
            waits_for_key,
            keeps_key,
        })
    }

    /// Returns the limiter.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// Returns whether the key, or the log of rejections, needs the pattern of the route.
    #[must_use]
    pub fn wants_route(&self) -> bool {
        self.wants_route || rejection::is_logged()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Records that the storage answered.
    pub(crate) fn record_decided(&self, decisions: &Decisions) {
        self.health.decided(decisions);
    }
}

/// Adds the rules of the options, and collects the names of those that are new.
fn add_rules(
    limiter: &Limiter,
    options: &Options,
    added: &mut Vec<String>,
) -> Result<(), ConfigError> {
    for (name, rate) in &options.added {
        let is_new = limiter.rule(name).is_none();
        limiter.add_named_rule(Rule::parse(name, rate)?).map_err(ConfigError::Rules)?;
        if is_new {
            added.push(name.clone());
        }
    }
    Ok(())
}

/// Returns the names of the rules that may apply; `None` for every rule.
fn applied_rules(options: &Options) -> Option<Vec<&String>> {
    let declared = &options.declared;
    let selects = options.select_rules.is_some() || options.key.is_async();
    match options.selection.names() {
        Some(names) if !selects || !declared.is_empty() => {
            Some(names.iter().chain(declared).collect())
        }
        None if options.select_rules.is_some() && !declared.is_empty() => {
            Some(declared.iter().collect())
        }
        _ => None,
    }
}

fn validate(limiter: &Limiter, options: &Options) -> Result<(), ConfigError> {
    options.key.validate()?;
    options.cost.as_ref().map_or(Ok(()), |cost| cost.validate())?;
    if options.methods.as_ref().is_some_and(Vec::is_empty) {
        return Err(ConfigError::NoMethods);
    }
    if let Some(error) = &options.invalid_path {
        return Err(error.clone().into());
    }
    if !options.selection.is_empty() || options.concurrency.is_empty() {
        limiter.validate_rules(options.selection.names())?;
    }
    for (i, limit) in options.concurrency.iter().enumerate() {
        if options.concurrency[..i].iter().any(|one| one.name() == limit.name()) {
            let repeated = Error::RepeatedRule(limit.name().to_owned());
            return Err(ConfigError::Rules(repeated));
        }
    }
    for name in &options.declared {
        limiter.validate_rules(Some(&[name]))?;
    }
    if options.key.is_async() && options.select_rules.is_some() {
        return Err(ConfigError::SelectRulesWithAsyncKey);
    }
    Ok(())
}

/// Returns the names of the rules and concurrency limits, for the log.
fn describe_rules(options: &Options) -> String {
    let selected = options.select_rules.as_ref().map(|_| match options.declared.is_empty() {
        true => "selected rules".to_owned(),
        false => options.declared.join(", "),
    });
    let named = match options.selection.names() {
        None if selected.is_some() => None,
        None => Some("all rules of the limiter".to_owned()),
        Some(names) => Some(names.join(", ")).filter(|names| !names.is_empty()),
    };
    let permits = options.concurrency.iter().map(|limit| limit.name().to_owned());
    named.into_iter().chain(selected).chain(permits).collect::<Vec<_>>().join(", ")
}

impl Drop for Throttle {
    fn drop(&mut self) {
        warn_about_dropped_limiter(&self.limiter);
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Throttle")
            .field("limiter", &self.limiter)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
