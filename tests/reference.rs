//! Checks that the test vectors match the exact model in `reference`.
//!
//! If Python is not installed, the test reports that it is skipped, as does `scripts/test`.

use std::{fs, path::Path, process::Command};

#[test]
fn the_test_vectors_match_the_generator() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = tempfile::tempdir().unwrap();
    // -B writes no bytecode files.
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
