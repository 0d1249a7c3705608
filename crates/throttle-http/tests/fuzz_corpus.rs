//! Replays the seeds of the fuzz targets, and the inputs that a fuzzer found.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/checks/address.rs"]
mod address;
#[path = "../../../fuzz/checks/forwarded.rs"]
mod forwarded;

/// Passes every file of the folder to the check; fails if the folder is missing or empty.
fn replay(folder: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(folder);
    let files = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{corpus:?}: {error}"));
    let mut replayed = 0;
    for file in files {
        let path = file.expect("the folder is read to its end").path();
        println!("{path:?}");
        check(&fs::read(&path).expect("a seed is a file"));
        replayed += 1;
    }
    assert!(replayed > 0, "{corpus:?} is empty: nothing was replayed");
}

#[test]
fn every_address_of_the_corpus_passes_the_checks() {
    replay("address", address::check);
}

#[test]
fn every_forwarded_field_of_the_corpus_passes_the_checks() {
    replay("forwarded", forwarded::check);
}
