//! The files that CONTRIBUTING.md sends a newcomer to exist.

use std::{fs, path::Path};

/// The folders and files at the root that a path begins with.
const ROOTS: [&str; 6] = ["crates/", "docs/", "examples/", "reference/", "scripts/", "tests/"];

#[test]
fn each_file_that_contributing_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    // What stands in backticks, and where links lead.
    let quoted = text.split('`').skip(1).step_by(2);
    let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let paths: Vec<_> = quoted
        .chain(links)
        .filter(|path| ROOTS.iter().any(|root| path.starts_with(root)))
        // `NAME` stands for what the newcomer calls it.
        .filter(|path| !path.contains("NAME") && !path.contains(char::is_whitespace))
        .collect();
    assert!(paths.len() > 80, "these are not all: {paths:?}");
    let is_missing = |path: &&&str| !root.join(path).exists();
    let missing: Vec<_> = paths.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "CONTRIBUTING.md names what is not there: {missing:#?}");
}
