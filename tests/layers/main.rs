//! Checks the layers: modules of a crate do not import each other, and crates depend only on lower layers.
//!
//! Set `LAYERS_ROOT` to check another checkout.

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
            let unresolved = graph::unresolved(&source);
            assert!(unresolved.is_empty(), "{name}: cannot resolve these paths: {unresolved:#?}");
            for cycle in graph::all_cycles(&source) {
                println!("{name} ({root}): {cycle}");
                fails = true;
            }
        }
    }
    assert!(
        !fails,
        "modules import each other, see the output above: move their common definitions to a separate file"
    );
}

#[test]
fn crates_depend_only_on_lower_layers() {
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

/// Returns the root files of the targets of a crate.
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
                let name =
                    path.strip_prefix(folder).expect("the path is in the folder").to_string_lossy();
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
