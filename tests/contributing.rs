//! Checks that CONTRIBUTING.md is up to date: the files that it names exist, and every algorithm is in all files that
//! it lists for one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use ratethrottle::{Algorithm, testing::vectors};

/// The first components of paths.
const ROOTS: [&str; 6] = ["crates/", "docs/", "examples/", "reference/", "scripts/", "tests/"];

#[test]
fn every_file_in_contributing_exists() {
    let root = root();
    let text = fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    // Text in backticks, and the targets of links.
    let quoted = text.split('`').skip(1).step_by(2);
    let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let paths: Vec<_> = quoted
        .chain(links)
        .filter(|path| ROOTS.iter().any(|root| path.starts_with(root)))
        // `NAME` is a placeholder.
        .filter(|path| !path.contains("NAME") && !path.contains(char::is_whitespace))
        .collect();
    assert!(paths.len() > 80, "expected more than 80 paths, found {paths:?}");
    let is_missing = |path: &&&str| !root.join(path).exists();
    let missing: Vec<_> = paths.iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "CONTRIBUTING.md names files that do not exist: {missing:#?}");
}

/// The files that contain the name of every algorithm in prose, with spaces.
const IN_PROSE: [&str; 7] = [
    "CHANGELOG.md",
    "README.md",
    "crates/throttle-core/src/rule/algorithm.rs",
    "docs/algorithms.md",
    "docs/performance.md",
    "docs/redis.md",
    "docs/failure-modes.md",
];

#[test]
fn every_algorithm_is_in_all_files_that_contributing_lists() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let vectors = vectors::all();
    let mut missing = Vec::new();
    for algorithm in Algorithm::ALL {
        let name = algorithm.as_str();
        let in_prose = name.replace('_', " ");
        for path in IN_PROSE {
            let words: Vec<_> = read(path).split_whitespace().map(str::to_lowercase).collect();
            if !words.join(" ").contains(&in_prose) {
                missing.push(format!("\"{in_prose}\" in {path}"));
            }
        }
        let picture = format!("pictures/{name}.svg");
        if !read("docs/algorithms.md").contains(&picture) {
            missing.push(format!("{picture} in docs/algorithms.md"));
        }
        let file = format!("crates/throttle-testkit/vectors/{name}.json");
        for path in [format!("docs/{picture}"), file] {
            if !root().join(&path).exists() {
                missing.push(path);
            }
        }
        if !read("reference/model.py").contains(&format!("\"{name}\": ")) {
            missing.push(format!("{name} in ALGORITHMS of reference/model.py"));
        }
        let is_plain = |vector: &&vectors::Vector| vector.rule.block_us.is_none();
        if !vectors.iter().filter(is_plain).any(|vector| vector.algorithm == algorithm) {
            missing.push(format!("{name} in FILES of crates/throttle-testkit/src/vectors.rs"));
        }
        let branch = format!("kind == {}", name.to_uppercase());
        let lua = files("crates/throttle-redis/src/lua", &["lua"]);
        if !lua.iter().any(|path| fs::read_to_string(path).unwrap().contains(&branch)) {
            missing.push(format!("{branch} in a file of crates/throttle-redis/src/lua"));
        }
    }
    assert!(missing.is_empty(), "add the missing entries: {missing:#?}");
}

#[test]
fn the_number_of_algorithms_is_right_wherever_it_is_stated() {
    const NUMBERS: [&str; 11] =
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"];
    let mut paths = files("crates", &["rs", "toml"]);
    paths.extend(files("docs", &["md"]));
    paths.push(root().join("README.md"));
    let (mut counted, mut wrong) = (0, Vec::new());
    for path in paths {
        let text = fs::read_to_string(&path).unwrap().to_lowercase();
        let words: Vec<_> = text
            .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
            .filter(|word| !word.is_empty())
            .collect();
        for pair in words.windows(2).filter(|pair| pair[1] == "algorithms") {
            let Some(number) = NUMBERS.iter().position(|name| *name == pair[0]) else { continue };
            counted += 1;
            if number != Algorithm::ALL.len() {
                wrong.push(format!("{}: {} algorithms", path.display(), pair[0]));
            }
        }
    }
    assert!(counted > 5, "the number of algorithms was found only {counted} times");
    assert!(wrong.is_empty(), "update the number of algorithms: {wrong:#?}");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Returns the files of a directory and its subdirectories.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if endings.contains(&ending) {
                found.push(path);
            }
        }
    }
    found
}
