//! What the command line says.

use std::time::Duration;

pub(crate) const USAGE: &str = "usage: soak [DURATION] [--seed N]

  DURATION   such as 90s, 30m or 2h; default 2m
  --seed N   draws what a run with this seed drew; default: another seed each time";

/// How long, and from which seed.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    pub(crate) duration: Duration,
    pub(crate) seed: Option<u64>,
}

impl Options {
    /// Reads arguments.
    ///
    /// # Errors
    ///
    /// What is wrong, for whoever typed it.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { duration: Duration::from_secs(120), seed: None };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if argument == "--seed" {
                let number = arguments.next().unwrap_or_default();
                let seed = number.parse();
                options.seed =
                    Some(seed.map_err(|_| format!("{number:?} is no seed: a whole number is"))?);
            } else {
                options.duration = duration(&argument).ok_or_else(|| {
                    format!("{argument:?} is no duration of 5s or more: 90s, 30m, 2h are")
                })?;
            }
        }
        Ok(options)
    }
}

fn duration(text: &str) -> Option<Duration> {
    let unit = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        _ => return None,
    };
    let seconds = text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(unit)?;
    (5..=7 * 86_400).contains(&seconds).then(|| Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn durations_and_seeds_are_read() {
        let of = |seconds, seed| Ok(Options { duration: Duration::from_secs(seconds), seed });
        assert_eq!(parse(""), of(120, None));
        assert_eq!(parse("90s"), of(90, None));
        assert_eq!(parse("30m --seed 7"), of(1_800, Some(7)));
        assert_eq!(parse("--seed 18446744073709551615 2h"), of(7_200, Some(u64::MAX)));
    }

    #[test]
    fn what_is_neither_is_told() {
        for line in
            ["90", "s", "1s", "-5m", "8µ", "99999999999999999999h", "1000h", "--help", "--seed"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--seed x").unwrap_err().contains("seed"));
    }
}
