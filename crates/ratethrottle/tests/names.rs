//! The names of the crate, and their paths.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{collections::BTreeSet, fs, path::Path};

/// The names that most programs use. Other names belong to the module of their subject.
const ROOT: [&str; 33] = [
    "Algorithm",
    "ClientIp",
    "ConfigError",
    "ConnectError",
    "Decision",
    "Decisions",
    "Error",
    "Header",
    "Headers",
    "Key",
    "Limiter",
    "ManualClock",
    "MemoryStorage",
    "Metrics",
    "OnError",
    "OutboundLimiter",
    "RateDecisions",
    "RateThrottle",
    "RateThrottleLayer",
    "RedisStorage",
    "Rejection",
    "RejectionReason",
    "RequestHead",
    "Resilience",
    "Rule",
    "Status",
    "Storage",
    "StorageError",
    "Tls",
    "Value",
    "Violation",
    "async_trait",
    "connect",
];

const MODULES: [&str; 12] = [
    "actix",
    "concurrency",
    "engine",
    "identity",
    "limiter",
    "options",
    "outbound",
    "redis",
    "resilience",
    "storage",
    "testing",
    "tower",
];

#[test]
fn the_root_has_exactly_the_names_that_most_programs_use() {
    let root = exports("lib");
    let names: Vec<_> = root.iter().map(|path| last(path)).collect();
    assert_eq!(sorted(names), ROOT, "add new names to a module, or to this list");
    assert!(ROOT.len() <= 40, "the root is for the names that most programs use");
}

#[test]
fn the_modules_are_those_that_the_docs_list() {
    let code = source("lib");
    let modules = code.lines().filter_map(|line| line.strip_prefix("pub mod "));
    assert_eq!(sorted(modules.map(|name| name.trim_end_matches(';')).collect()), MODULES);
    let docs = fs::read_to_string(path("lib")).unwrap();
    for module in MODULES {
        assert!(docs.contains(&format!("[`{module}`]")), "lib.rs does not describe {module}");
    }
}

#[test]
fn each_module_has_an_example() {
    for module in MODULES {
        let text = fs::read_to_string(path(module)).unwrap();
        assert!(text.starts_with("//! ") && text.contains("//! ```\n"), "{module} has no example");
    }
}

#[test]
fn no_name_has_two_paths() {
    let mut seen = BTreeSet::new();
    for file in MODULES.iter().chain(&["lib"]) {
        for path in exports(file) {
            assert_ne!(last(&path), "*", "{file} re-exports unlisted names: {path}");
            assert!(seen.insert(path.clone()), "{path} is in {file} and elsewhere");
        }
    }
    assert!(seen.len() > 100, "some names are missing: {seen:?}");
}

#[test]
fn exports_are_found_in_nested_lists() {
    let code = "mod a;\npub use b::{\n    C, d::{E as F, G},\n};\npub use h;\nuse i::J;\n";
    assert_eq!(exports_of(code), ["b::C", "b::d::E as F", "b::d::G", "h"]);
    assert_eq!(["b::d::E as F", "b::C", "h"].map(last), ["F", "C", "h"]);
}

fn path(file: &str) -> impl AsRef<Path> {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file).with_extension("rs")
}

/// Returns the code of a file, without comments.
fn source(file: &str) -> String {
    let text = fs::read_to_string(path(file)).unwrap();
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

fn exports(file: &str) -> Vec<String> {
    exports_of(&source(file))
}

/// Returns the path of each `pub use`.
fn exports_of(code: &str) -> Vec<String> {
    let trees = code.split("pub use ").skip(1).filter_map(|rest| rest.split_once(';'));
    trees.flat_map(|(tree, _)| leaves(tree.trim())).collect()
}

/// Returns the paths of a tree such as `a::{B, c::{D, E}}`.
fn leaves(tree: &str) -> Vec<String> {
    let Some((parent, list)) = tree.split_once('{') else { return vec![tree.to_owned()] };
    let list = list.strip_suffix('}').expect("a list ends");
    let (mut depth, mut children) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                children.push(String::new());
                continue;
            }
            _ => {}
        }
        children.last_mut().expect("there is one").push(c);
    }
    let children = children.iter().map(|child| child.trim()).filter(|child| !child.is_empty());
    children.flat_map(leaves).map(|leaf| format!("{parent}{leaf}")).collect()
}

/// Returns the name at the end of a path.
fn last(path: &str) -> &str {
    path.rsplit([':', ' ']).next().unwrap_or(path)
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}
