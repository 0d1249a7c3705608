//! Checks that the excerpts in the guide match the examples.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{fs, path::Path};

/// Returns the text of a file, relative to the workspace root.
fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

/// Returns the lines without surrounding whitespace.
fn trimmed(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

/// Returns the code blocks of a page that are marked `ignore`.
fn excerpts(page: &str) -> Vec<&str> {
    let blocks = page.split("\n```rust,ignore\n").skip(1);
    blocks.map(|block| block.split("\n```\n").next().unwrap()).collect()
}

#[test]
fn the_excerpts_on_the_storage_page_are_in_the_example() {
    let page = text("docs/storage.md");
    let folder = "examples/sqlite_storage";
    let example =
        trimmed(&["main.rs", "storage.rs"].map(|file| text(&format!("{folder}/{file}"))).concat());
    let excerpts = excerpts(&page);
    assert_eq!(excerpts.len(), 2);
    for excerpt in excerpts {
        assert!(
            example.contains(&trimmed(excerpt)),
            "update this excerpt in docs/storage.md; it is not in {folder}:\n{excerpt}"
        );
    }
}
