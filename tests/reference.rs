//! The vectors of the conformance suite are what the exact model in `reference` answers.
//!
//! Where Python is missing, the test reports that it was skipped; so does `scripts/test`.

use std::{fs, path::Path, process::Command};

#[test]
fn the_vectors_in_the_repository_are_those_that_the_generator_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().unwrap();
    // -B leaves no compiled files behind.
    let generator = Command::new("python3")
        .arg("-B")
        .arg(root.join("reference/generate.py"))
        .arg(folder.path())
        .output();
    let Ok(output) = generator else {
        eprintln!("skipped: python3 is not installed");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    };
    let vectors = root.join("crates/throttle-testkit/vectors");
    let written = names(folder.path());
    assert_eq!(written, names(&vectors));
    assert!(!written.is_empty());
    for name in written {
        let is_same =
            fs::read(folder.path().join(&name)).unwrap() == fs::read(vectors.join(&name)).unwrap();
        assert!(is_same, "{} differs: run python3 reference/generate.py", name.display());
    }
}
