//! The printed output.

use std::{fmt::Write as _, time::Duration};

use crate::{faults::Broken, oracle::Oracle, process::Sample, world::World};

/// Prints a progress line.
pub(crate) fn line(elapsed: Duration, world: &World, sample: Sample) {
    println!(
        "{:>5} s: {}; {} MiB, {} descriptors",
        elapsed.as_secs(),
        world.tally,
        sample.resident >> 20,
        sample.descriptors
    );
}

/// Returns the summary.
pub(crate) fn summary(
    seed: u64,
    world: &World,
    broken: &Broken,
    oracle: &Oracle,
    samples: &[Sample],
) -> String {
    let mut text = format!("soak: seed {seed}\n  {}\n", world.tally);
    let _ = writeln!(text, "  judged: {} allowed, {} rejected", oracle.judged.0, oracle.judged.1);
    let faults: Vec<_> = broken.kinds().iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let _ = writeln!(text, "  faults: {}", faults.join(", "));
    let reconnects: u64 = world.nodes.iter().map(|node| node.redis.stats().reconnects).sum();
    let opened: u64 = world.nodes.iter().map(|node| node.storage.stats().circuit.opened).sum();
    let back = broken.longest();
    let _ = writeln!(
        text,
        "  {reconnects} reconnects, circuits opened {opened} times, recovered within {back:?}"
    );
    let leases = world.nodes.iter().filter_map(|node| node.storage.stats().leases);
    let leased: u64 = leases.map(|stats| stats.allowed).sum();
    let denials = world.nodes.iter().filter_map(|node| node.storage.stats().denials);
    let cached: u64 = denials.map(|stats| stats.hits).sum();
    let _ = writeln!(text, "  {leased} allowed from leases, {cached} denied from the denial cache");
    if let (Some(first), Some(last)) = (samples.get(samples.len() / 4), samples.last()) {
        let [before, after] = [first, last].map(|sample| sample.resident >> 20);
        let _ = writeln!(
            text,
            "  memory {before} MiB when warm, {after} MiB at the end; descriptors {}, {}",
            first.descriptors, last.descriptors
        );
    }
    text
}
