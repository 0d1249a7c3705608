//! The command line options.

use std::time::Duration;

pub(crate) const USAGE: &str = "usage: soak [DURATION] [--seed N] [--topology T]

  DURATION       such as 90s, 30m or 2h; default 2m
  --seed N       repeats the random choices of a run with this seed; default: a new seed
  --topology T   the shared storage: redis (the default), tls, sentinel or cluster";

/// The shared storage.
#[derive(Copy, Clone, PartialEq, Eq, Default, Debug)]
pub(crate) enum Topology {
    #[default]
    Redis,
    Tls,
    Sentinel,
    Cluster,
}

impl Topology {
    const ALL: [Self; 4] = [Self::Redis, Self::Tls, Self::Sentinel, Self::Cluster];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Tls => "tls",
            Self::Sentinel => "sentinel",
            Self::Cluster => "cluster",
        }
    }
}

/// The duration, the seed and the storage of a soak.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    pub(crate) duration: Duration,
    pub(crate) seed: Option<u64>,
    pub(crate) topology: Topology,
}

impl Options {
    /// Parses the arguments.
    ///
    /// # Errors
    ///
    /// Returns a message about the first invalid argument.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let (seed, topology) = Default::default();
        let mut options = Self { duration: Duration::from_secs(120), seed, topology };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if argument == "--seed" {
                let number = arguments.next().unwrap_or_default();
                let seed = number.parse();
                options.seed = Some(
                    seed.map_err(|_| format!("{number:?} is not a seed: use a whole number"))?,
                );
            } else if argument == "--topology" {
                let name = arguments.next().unwrap_or_default();
                let named = Topology::ALL.into_iter().find(|one| one.as_str() == name);
                options.topology = named.ok_or_else(|| {
                    format!("{name:?} is not a topology: use redis, tls, sentinel or cluster")
                })?;
            } else {
                options.duration = duration(&argument).ok_or_else(|| {
                    format!("{argument:?} is not a duration of 5s or more, such as 90s, 30m or 2h")
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
    fn durations_seeds_and_topologies_are_read() {
        let of = |seconds, seed, topology| {
            Ok(Options { duration: Duration::from_secs(seconds), seed, topology })
        };
        assert_eq!(parse(""), of(120, None, Topology::Redis));
        assert_eq!(parse("90s --topology tls"), of(90, None, Topology::Tls));
        assert_eq!(
            parse("30m --seed 7 --topology sentinel"),
            of(1_800, Some(7), Topology::Sentinel)
        );
        let line = "--topology cluster --seed 18446744073709551615 2h";
        assert_eq!(parse(line), of(7_200, Some(u64::MAX), Topology::Cluster));
    }

    #[test]
    fn invalid_arguments_are_reported() {
        for line in
            ["90", "s", "1s", "-5m", "8µ", "99999999999999999999h", "1000h", "--help", "--seed"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("--seed x").unwrap_err().contains("seed"));
        for line in ["--topology", "--topology Redis"] {
            assert!(parse(line).unwrap_err().contains("sentinel"), "{line}");
        }
    }
}
