//! Checks that the examples show every option.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{fs, path::PathBuf};

/// Returns the text of a file, or of all files in a directory, relative to the workspace root.
fn text(path: &str) -> String {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path);
    if path.is_file() {
        return fs::read_to_string(path).unwrap();
    }
    let files = fs::read_dir(path).unwrap().map(|file| file.unwrap().path());
    files.filter(|file| file.is_file()).map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// Returns the code of an example, and of the examples that its header names.
fn shown(example: &str) -> String {
    let code = text(&format!("examples/{example}"));
    let header = code.lines().take_while(|line| line.starts_with("//!"));
    let named = header.flat_map(|line| line.split('`').filter(|word| word.ends_with(".rs")));
    let named: Vec<_> = named.map(|file| text(&format!("examples/{file}"))).collect();
    let all = [vec![code.clone()], named].concat().concat();
    all.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Returns the names of the public methods that consume `self`.
fn options(source: &str) -> Vec<&str> {
    let methods = source.split("pub fn ").skip(1);
    let changes = methods.filter(|method| {
        let signature = method.split_once('{').map_or(*method, |(signature, _)| signature);
        let signature: String = signature.split_whitespace().collect();
        // The first parenthesis after type parameters starts the parameters.
        ["(self,", "(self)", "(mutself,", "(mutself)"].iter().any(|all| signature.contains(all))
    });
    let names = changes.map(|method| method.split(|c| !is_of_name(c)).next().unwrap());
    names.filter(|name| *name != "build").collect()
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[track_caller]
fn all_are_shown(source: &str, example: &str, at_least: usize) {
    let (source, shown) = (text(source), shown(example));
    let options = options(&source);
    assert!(
        options.len() >= at_least,
        "expected at least {at_least} options in the source, found {options:?}"
    );
    let is_called = |option: &&str| {
        [format!(".{option}("), format!("::{option}(")].iter().any(|call| shown.contains(call))
    };
    let missing: Vec<_> = options.into_iter().filter(|option| !is_called(option)).collect();
    assert!(
        missing.is_empty(),
        "add these options to {example}, or to an example that its header names: {missing:?}"
    );
}

#[test]
fn every_option_of_the_layer_is_in_an_example() {
    all_are_shown("crates/throttle-http/src/option_methods.rs", "options.rs", 25);
    all_are_shown("crates/throttle-http/src/fields/mod.rs", "options.rs", 5);
    all_are_shown("crates/throttle-http/src/options/content_length.rs", "options.rs", 2);
    all_are_shown("crates/throttle-http/src/identity", "options.rs", 5);
    all_are_shown("crates/throttle-tower/src/layer.rs", "options.rs", 2);
    all_are_shown("crates/throttle-tower/src/outbound/mod.rs", "options.rs", 8);
}

/// Includes the settings for missing keys and for errors.
#[test]
fn every_kind_of_key_is_in_an_example() {
    let shown = shown("options.rs");
    let identity = text("crates/throttle-http/src/identity");
    let keys = identity.split("\nimpl ExtractKey for ").skip(1);
    let keys: Vec<_> = keys.map(|rest| rest.split(' ').next().unwrap()).collect();
    assert!(keys.len() >= 9, "{keys:?}");
    let choices = "KeyWithRules OnMissing::Status OnMissing::Anonymous OnMissing::ClientIp \
                   OnMissingLength::Costs OnError::Reject OnError::Pass";
    for key in keys {
        assert!(shown.matches(key).count() >= 2, "use {key} in options.rs, not only import it");
    }
    for choice in choices.split_whitespace() {
        assert!(shown.contains(choice), "use {choice} in options.rs");
    }
}

#[test]
fn every_option_of_storages_and_limiters_is_in_an_example() {
    let example = "storage_options.rs";
    all_are_shown("crates/throttle-core/src/limiter/builder.rs", example, 2);
    all_are_shown("crates/throttle-memory/src/storage.rs", example, 1);
    all_are_shown("crates/throttle-redis/src/builder.rs", example, 16);
    all_are_shown("crates/throttle-redis/src/tls.rs", example, 2);
    all_are_shown("crates/throttle-resilience/src/resilience.rs", example, 7);
    all_are_shown("crates/throttle-resilience/src/deadline.rs", example, 6);
    all_are_shown("crates/throttle-resilience/src/breaker/config.rs", example, 7);
    all_are_shown("crates/throttle-resilience/src/fallback/modes.rs", example, 4);
    all_are_shown("crates/throttle-resilience/src/instances/mod.rs", example, 1);
}

#[test]
fn the_check_finds_a_missing_option() {
    let source = "pub fn new() -> Self {}\n pub fn by<R: Into<u8>>(\n self,\n r: R) -> Self {} \
                  pub fn known(&self) -> u8 {} pub fn at(mut self) -> Self { self }";
    assert_eq!(options(source), ["by", "at"]);
    assert!(!shown("quickstart/quickstart.rs").contains(".shape("));
}
