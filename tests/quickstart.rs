//! The build of the quickstart, which is the first thing that new users wait for.

use std::{collections::BTreeSet, process::Command};

/// Cargo builds an example with the features that all default members enable.
#[test]
fn the_first_build_of_the_quickstart_compiles_no_test_helpers() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--edges", "normal,build", "--prefix", "none"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let crates: BTreeSet<_> = tree
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.split(' ').take(2).collect::<Vec<_>>())
        .collect();
    assert!(crates.iter().any(|words| words[0] == "quickstart"), "{tree}");
    let helpers: Vec<_> =
        crates.iter().filter(|words| words[0].starts_with("throttle-test")).collect();
    assert!(helpers.is_empty(), "{helpers:?}");
    assert!(crates.len() <= 105, "{} crates: {crates:?}", crates.len());
}
