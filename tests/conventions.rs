//! Conventions of all published crates that the compiler does not check.

use std::{collections::BTreeSet, fs, path::Path};

/// Rust prints `Debug` of the error that a `main` returns, so that it must read as a sentence.
#[test]
fn the_debug_text_of_every_error_is_its_text_for_people() {
    let mut found = 0;
    for (file, source) in sources() {
        for derive in source.split("#[derive(").skip(1) {
            let traits = derive.split(")]").next().unwrap();
            if traits.contains("Error") {
                found += 1;
                assert!(!traits.contains("Debug"), "{file}: use debug_as_text! for {traits}");
            }
        }
    }
    assert!(found > 15, "found only {found} errors");
}

/// The guide lists the targets by which users filter the log.
#[test]
fn every_log_event_has_a_target_that_the_guide_lists() {
    let page = include_str!("../docs/getting-started.md");
    let listed = page.split("| `ratethrottle::").skip(1).map(|row| row.split('`').next().unwrap());
    let mut used = BTreeSet::new();
    for (file, source) in sources() {
        assert!(!source.contains("use tracing::"), "{file}: write tracing:: before the macro");
        let code = source.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        for event in code.split("tracing::").skip(1) {
            let Some((name, arguments)) = event.split_once("!(") else { continue };
            if !name.chars().all(|c| c.is_alphabetic() || c == '_') {
                continue; // not a macro
            }
            let target = arguments.trim_start().strip_prefix("target: \"ratethrottle::");
            let target = target.unwrap_or_else(|| panic!("{file}: no target in {event:.200}"));
            used.insert(target.split('"').next().unwrap().to_owned());
        }
    }
    assert_eq!(used, listed.map(str::to_owned).collect());
}

/// Returns the sources of the published crates, with their paths.
pub(crate) fn sources() -> Vec<(String, String)> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut found = Vec::new();
    for folder in fs::read_dir(crates).unwrap() {
        let folder = folder.unwrap().path();
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        if !manifest.contains("publish = false") {
            collect(&folder.join("src"), &mut found);
        }
    }
    found
}

fn collect(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            found.push((path.display().to_string(), source));
        }
    }
}
