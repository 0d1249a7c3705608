//! The texts use the words of docs/glossary.md: a phrase that the glossary replaces is in no page, comment or
//! message.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Phrases, with the words to use instead.
const REPLACED: &[(&[&str], &str)] = &[
    (&["refuse", "refuses", "refused", "refusal", "refusals"], "reject, rejection"),
    (&["admit", "admits", "admitted", "let through", "lets through"], "allow"),
    (&["under way"], "in flight"),
    (&["shut out", "shuts out", "is shut", "stays shut"], "blocked"),
    (&["give back", "gives back", "given back", "gave back"], "refund, release, return"),
    (&["settle", "settles", "settled", "settling"], "reconcile"),
    (&["its turn", "their turn", "their turns"], "scheduled time"),
    (&["debts", "owed", "owes", "repaid", "forgiven"], "deferred charges, replayed, dropped"),
    (&["obey", "obeys", "heed", "heeds", "patience"], "respect, observe"),
    (&["whoever", "whom", "nobody", "everybody"], "client, caller, request, key"),
    (&["takes note", "take note", "hears"], "records, receives"),
    (&["anew", "likewise", "for ever", "these days", "at hand"], "plain English"),
    (&["in place of"], "instead of"),
    (&["of one's own", "of ones own"], "custom, your own"),
];

/// Terms of other fields in which such a word is right.
const TERMS: &[&str] =
    &["connection refused", "connections are refused", "refuses connections", "refused stream"];

/// Tests of servers that refuse connections, which is the term of TCP.
const ABOUT_CONNECTIONS: &[&str] =
    &["throttle-testbed/", "throttle-soak/src/faults.rs", "throttle-redis/tests/"];

#[test]
fn no_text_uses_a_phrase_that_the_glossary_replaces() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in ["crates", "docs", "examples", "reference", "scripts", "tests"] {
        collect(&root.join(folder), &mut files);
    }
    files.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|page| root.join(page)));
    assert!(files.len() > 400, "only {} files were found", files.len());
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.ends_with("tests/words.rs")) {
        let Ok(content) = fs::read_to_string(file) else { continue };
        let mut text = words(&prose(file, &content));
        for term in TERMS {
            text = text.replace(term, "");
        }
        let path = file.to_string_lossy();
        let refuses = ABOUT_CONNECTIONS.iter().any(|part| path.contains(part));
        for (phrases, instead) in REPLACED {
            for phrase in phrases.iter().filter(|phrase| !(refuses && phrase.starts_with("refus")))
            {
                if let Some(at) = text.find(&format!(" {phrase} ")) {
                    let end = (at + 60).min(text.len());
                    let context = text.get(at.saturating_sub(30)..end).unwrap_or(phrase);
                    found.push(format!(
                        "{}: {phrase:?} in {context:?}; use {instead}",
                        file.display()
                    ));
                }
            }
        }
    }
    assert!(found.is_empty(), "{} phrases:\n{}", found.len(), found.join("\n"));
}

/// Returns the parts of a file that people read: pages as they are, and comments and strings of code.
fn prose(file: &Path, content: &str) -> String {
    let marker = match file.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => "//",
        Some("lua") => "--",
        _ => return content.to_owned(),
    };
    let mut prose = String::new();
    for line in content.lines() {
        let (code, comment) = line.split_once(marker).unwrap_or((line, ""));
        let strings = code.split('"').skip(1).step_by(2);
        let name = code.trim_start().split_once("fn ").map(|(_, rest)| rest.replace('_', " "));
        prose.extend(
            strings.chain(name.as_deref()).chain([comment, "\n"]).flat_map(|part| [part, " "]),
        );
    }
    prose
}

/// Returns the words in lower case, with one space around each.
fn words(text: &str) -> String {
    let is_in_word = |c: char| c.is_alphanumeric() || c == '\'';
    let words = text.split(|c: char| !is_in_word(c)).filter(|word| !word.is_empty());
    let mut joined = String::from(" ");
    for word in words {
        joined.push_str(&word.to_lowercase());
        joined.push(' ');
    }
    joined
}

/// Collects the files below a folder that hold texts.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for path in entries {
        let is_text = path
            .extension()
            .is_some_and(|end| ["rs", "md", "lua", "py", "svg"].iter().any(|text| end == *text));
        if path.is_dir() {
            collect(&path, files);
        } else if is_text || path.parent().is_some_and(|parent| parent.ends_with("scripts")) {
            files.push(path);
        }
    }
}

#[test]
fn phrases_are_found_across_lines_and_in_strings_comments_and_names() {
    let code = "/// It is given\n/// back.\nfn a_refusal() { panic!(\"under way\") } // whoever\nlet given_back = 1;";
    let text = words(&prose(Path::new("a.rs"), code));
    for phrase in ["given back", "refusal", "under way", "whoever"] {
        assert!(text.contains(&format!(" {phrase} ")), "{phrase}: {text}");
    }
    assert_eq!(text.matches("given").count(), 1, "identifiers in code are not texts: {text}");
}
