//! Keeps the layers: no two modules of a crate import each other, and crates depend one way.
//!
//! `LAYERS_ROOT` names another checkout to look at, in place of the one that the test is built of.

mod crates;
mod graph;
mod names;
mod resolve;
mod source;
mod tests;

use std::{
    fs,
    path::{Path, PathBuf},
};

use self::source::{Source, Sources};

#[test]
fn no_two_modules_of_a_crate_import_each_other() {
    let mut fails = false;
    for folder in crate_folders() {
        let name = folder.file_name().expect("a folder has a name").to_string_lossy();
        let files = read(&folder.join("src"));
        for root in roots(&files) {
            let source = Source::read(&files, root);
            let lost = graph::lost(&source);
            assert!(lost.is_empty(), "{name}: these paths lead nowhere: {lost:#?}");
            for circle in graph::all_circles(&source) {
                println!("{name} ({root}): {circle}");
                fails = true;
            }
        }
    }
    assert!(
        !fails,
        "modules import each other, see above: move what both need to a file of its own"
    );
}

#[test]
fn no_crate_depends_on_one_that_does_not_stand_below_it() {
    let crates = crates::read(&checkout());
    assert!(crates.iter().any(|krate| krate.is_published));
    let violations = crates::violations(&crates);
    assert!(violations.is_empty(), "{violations:#?}");
}

fn checkout() -> PathBuf {
    std::env::var_os("LAYERS_ROOT")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), PathBuf::from)
}

fn crate_folders() -> Vec<PathBuf> {
    let mut folders = entries(&checkout().join("crates"));
    folders.retain(|folder| folder.join("src").is_dir());
    folders.sort();
    assert!(!folders.is_empty(), "the checkout has no crates");
    folders
}

/// Returns the roots of a crate's targets.
fn roots(files: &Sources) -> impl Iterator<Item = &str> {
    files.keys().map(String::as_str).filter(|file| match file.strip_prefix("bin/") {
        Some(program) => !program.contains('/') || program.ends_with("/main.rs"),
        None => matches!(*file, "lib.rs" | "main.rs"),
    })
}

fn read(folder: &Path) -> Sources {
    let mut sources = Sources::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for path in entries(&next) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(folder).expect("it is below").to_string_lossy();
                let text = fs::read_to_string(&path).expect("a file can be read");
                sources.insert(name.replace('\\', "/"), text);
            }
        }
    }
    sources
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder can be read").path())
        .collect()
}
