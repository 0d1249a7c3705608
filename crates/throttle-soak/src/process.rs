//! Memory and descriptors of this process, and whether they grow.

use std::{fs, io};

/// The growth of median memory that is allowed, in addition to a quarter.
const MORE_BYTES: u64 = 16 << 20;
/// The growth of median descriptors that is allowed.
const MORE_DESCRIPTORS: u64 = 20;
/// The fewest samples for a comparison.
const LEAST: usize = 8;

/// The resources of the process at a moment.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Sample {
    /// Bytes in memory.
    pub(crate) resident: u64,
    pub(crate) descriptors: u64,
}

impl Sample {
    /// Reads the resources of this process from `/proc`.
    ///
    /// # Errors
    ///
    /// Returns an error if `/proc` is not available.
    pub(crate) fn take() -> io::Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let kibibytes = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .ok_or_else(|| io::Error::other("/proc/self/status has no VmRSS"))?;
        let descriptors = fs::read_dir("/proc/self/fd")?.count() as u64;
        Ok(Self { resident: kibibytes << 10, descriptors })
    }
}

/// Returns a description of each resource that grew.
///
/// The first quarter of the samples is warm-up. Of the rest, the median of the later half is
/// compared with the median of the earlier half.
pub(crate) fn grown(samples: &[Sample]) -> Vec<String> {
    let warm = &samples[samples.len() / 4..];
    if warm.len() < LEAST {
        return Vec::new();
    }
    let (earlier, later) = warm.split_at(warm.len() / 2);
    let both = |of: fn(&Sample) -> u64| (median(earlier, of), median(later, of));
    let mut found = Vec::new();
    let (first, last) = both(|sample| sample.resident);
    if last > first + first / 4 + MORE_BYTES {
        let [first, last] = [first, last].map(|bytes| bytes >> 20);
        found.push(format!("memory grew from {first} to {last} MiB (medians)"));
    }
    let (first, last) = both(|sample| sample.descriptors);
    if last > first + MORE_DESCRIPTORS {
        found.push(format!("descriptors grew from {first} to {last} (medians)"));
    }
    found
}

fn median(samples: &[Sample], of: fn(&Sample) -> u64) -> u64 {
    let mut all: Vec<_> = samples.iter().map(of).collect();
    all.sort_unstable();
    all[all.len() / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn samples(mebibytes: impl Iterator<Item = u64>) -> Vec<Sample> {
        mebibytes.map(|n| Sample { resident: n * MIB, descriptors: n }).collect()
    }

    #[test]
    fn growth_is_reported_and_warm_up_is_not() {
        assert!(grown(&samples((0..100).map(|i| i.min(25)))).is_empty());
        assert!(grown(&samples((0..100).map(|i| 40 + i % 30))).is_empty());
        let found = grown(&samples((0..100).map(|i| 40 + i)));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(grown(&samples(0..4)).is_empty());
    }

    #[test]
    fn an_open_descriptor_is_counted() {
        let before = Sample::take().unwrap();
        let held: Vec<_> = (0..50).map(|_| fs::File::open("/proc/self/status").unwrap()).collect();
        let after = Sample::take().unwrap();
        assert!(after.descriptors + 10 >= before.descriptors + 50, "{before:?} {after:?}");
        assert!(after.resident > MIB);
        drop(held);
    }
}
