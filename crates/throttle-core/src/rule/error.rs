//! The error for an invalid rule.

/// The error for a rule with a value out of range: the field, its value, and the allowed values.
///
/// ```
/// # use throttle_core as ratethrottle;
/// use ratethrottle::Rule;
///
/// let error = Rule::per_minute("api", 0).check().unwrap_err();
/// assert_eq!(error.field(), "limit");
/// assert_eq!(error.to_string(), "rule \"api\": limit is 0; it must be from 1 to 999999999999999");
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule:?}: {field} is {value}; it must be {allowed}")]
pub struct InvalidRule {
    rule: String,
    field: &'static str,
    value: String,
    allowed: String,
}

crate::debug_as_text!(InvalidRule);

impl InvalidRule {
    pub(crate) fn new(
        rule: &str,
        field: &'static str,
        value: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self { rule: shortened(rule), field, value: value.into(), allowed: allowed.into() }
    }

    pub(crate) fn of(mut self, rule: &str) -> Self {
        self.rule = shortened(rule);
        self
    }

    /// Returns the name of the rule, shortened if it is very long.
    #[must_use]
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// Returns the invalid field: `name`, `rate`, `limit`, `window`, `burst`, `cost` or `block`.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }

    /// Returns the invalid value.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns the allowed values, as a phrase that follows "it must be".
    #[must_use]
    pub fn allowed(&self) -> &str {
        &self.allowed
    }
}

/// Returns an external text in quotes for an error or a log line, escaped and shortened.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}
