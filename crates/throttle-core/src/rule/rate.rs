//! Rates in text form, such as `100/minute`.

use std::{fmt, str::FromStr, time::Duration};

use super::error::{InvalidRule, quoted};

const FORMS: &str = "a count and a time, such as \"100/minute\", \"5/s\", \"1000 per hour\" or \
                     \"10/30s\" (units: second, sec, s, minute, min, m, hour, hr, h, day, d, week, w)";

/// A number of requests per period of time.
///
/// The text form is a whole number, `/` or `per`, an optional whole multiple, and a unit: `second`, `seconds`, `sec`,
/// `s`, `minute(s)`, `min`, `m`, `hour(s)`, `hr`, `h`, `day(s)`, `d`, `week(s)` or `w`. Case and spacing do not matter.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// # mod ratethrottle { pub use throttle_core::*; pub mod limiter { pub use super::*; } }
/// use ratethrottle::limiter::Rate;
///
/// let rate: Rate = "10/30s".parse()?;
/// assert_eq!((rate.limit(), rate.window()), (10, Duration::from_secs(30)));
/// assert!("ten a minute".parse::<Rate>().is_err());
/// # Ok::<(), throttle_core::InvalidRule>(())
/// ```
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug)]
pub struct Rate {
    limit: u64,
    window: Duration,
}

impl Rate {
    /// Reads a rate.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidRule`] with the field `rate` if the text has another form, or if a number is too large. The
    /// range of limit and window is checked with the rule ([`crate::Rule::check`]).
    pub fn parse(text: &str) -> Result<Self, InvalidRule> {
        read(text).ok_or_else(|| InvalidRule::new("", "rate", quoted(text), FORMS))
    }

    /// Returns the number of requests.
    #[must_use]
    pub fn limit(self) -> u64 {
        self.limit
    }

    /// Returns the period of time.
    #[must_use]
    pub fn window(self) -> Duration {
        self.window
    }
}

impl FromStr for Rate {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        Self::parse(text)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.limit, self.window)
    }
}

fn read(text: &str) -> Option<Rate> {
    let (limit, rest) = number(text.trim())?;
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('/') {
        Some(rest) => rest,
        None => after_per(rest)?,
    };
    let rest = rest.trim();
    let (count, unit) = if rest.starts_with(|c: char| c.is_ascii_digit()) {
        let (count, unit) = number(rest)?;
        (count, unit.trim_start())
    } else {
        (1, rest)
    };
    let seconds = count.checked_mul(unit_seconds(unit)?)?;
    Some(Rate { limit, window: Duration::from_secs(seconds) })
}

fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

fn after_per(text: &str) -> Option<&str> {
    let (word, rest) = text.split_at_checked(3)?;
    let separate = rest.starts_with(|c: char| c.is_whitespace() || c.is_ascii_digit());
    (word.eq_ignore_ascii_case("per") && separate).then_some(rest)
}

fn unit_seconds(unit: &str) -> Option<u64> {
    const UNITS: [(&[&str], u64); 5] = [
        (&["second", "seconds", "sec", "s"], 1),
        (&["minute", "minutes", "min", "m"], 60),
        (&["hour", "hours", "hr", "h"], 3_600),
        (&["day", "days", "d"], 86_400),
        (&["week", "weeks", "w"], 604_800),
    ];
    UNITS.iter().find_map(|(names, seconds)| {
        names.iter().any(|name| name.eq_ignore_ascii_case(unit)).then_some(*seconds)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_form_is_read() {
        let minute = 60;
        let table = [
            ("100/minute", 100, minute),
            ("5/s", 5, 1),
            ("1000 per hour", 1000, 3_600),
            ("10/30s", 10, 30),
            ("10 / 30 sec", 10, 30),
            ("  7 PER 2 Days ", 7, 172_800),
            ("7per 2d", 7, 172_800),
            ("7 per2d", 7, 172_800),
            ("1/m", 1, minute),
            ("1/Min", 1, minute),
            ("1/MINUTES", 1, minute),
            ("1/hr", 1, 3_600),
            ("1/h", 1, 3_600),
            ("1/hours", 1, 3_600),
            ("1/day", 1, 86_400),
            ("10/week", 10, 604_800),
            ("10 per 2 Weeks", 10, 1_209_600),
            ("1/w", 1, 604_800),
            ("1/seconds", 1, 1),
            ("0/s", 0, 1),
        ];
        for (text, limit, seconds) in table {
            let rate = Rate::parse(text).unwrap();
            assert_eq!(
                (rate.limit(), rate.window()),
                (limit, Duration::from_secs(seconds)),
                "{text}"
            );
        }
    }

    #[test]
    fn a_rate_of_more_than_a_thousand_per_second_is_not_changed() {
        assert_eq!(Rate::parse("250000/s").unwrap().limit(), 250_000);
    }

    #[test]
    fn a_text_that_is_not_a_rate_is_a_short_error() {
        let long = "9".repeat(70_000);
        let table = [
            "",
            " ",
            "/",
            "100",
            "100/",
            "/minute",
            "100 minute",
            "-1/s",
            "+1/s",
            "1.5/s",
            "1/1.5s",
            "1/fortnight",
            "100perminute",
            "100//minute",
            "1/s/s",
            "1/ms",
            "１/s",
            "1/ſ",
            "99999999999999999999/s",
            "1/99999999999999999999d",
            "1/999999999999999999d",
            &long,
            "1/s\0",
            "per",
            "1 per",
            "1 peré",
        ];
        for text in table {
            let error = Rate::parse(text).unwrap_err();
            assert_eq!(error.field(), "rate");
            assert!(error.to_string().len() < 600, "{error}");
        }
    }
}
