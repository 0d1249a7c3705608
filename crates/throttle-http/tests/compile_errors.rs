//! The messages of the compiler for values that are not keys, costs or rules: each shows what to write.
//!
//! The program is checked in a package of its own, as doc tests cannot compare messages.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::{fs, path::Path, process::Command};

/// Expressions that must not compile, and the words that their errors must have.
const WRONG: [(&str, &[&str]); 9] = [
    (
        r#"Options::new().key("x-api-key")"#,
        &["`&str` is not a source of keys", r#"write `Header::new("x-api-key")`"#],
    ),
    (
        r#"Options::new().key((ClientIp::new(), "x-api-key"))"#,
        &["&str)` is not a source of keys", r#"write `Header::new("x-api-key")`"#],
    ),
    (
        "Options::new().key(|head: &RequestHead<'_>| head.uri().clone())",
        &["is not a source of keys", "it returns text, bytes, an integer, an `IpAddr`"],
    ),
    ("Options::new().key_by(|head| head.uri().clone())", &["Uri` is not a key", "`String`"]),
    (
        "AsyncKey::new(|_| async { Ok::<_, std::fmt::Error>(1.5) })",
        &["is neither a key nor a key with rules", "a `KeyWithRules`"],
    ),
    (r#"Options::new().cost("5")"#, &["`&str` is not a source of costs", "an integer such as `5`"]),
    (
        "Options::new().cost(|_: &RequestHead<'_>| 5_u8)",
        &["is not a source of costs", "`.cost_by(|head| …)`; it returns a `u64`"],
    ),
    ("Options::new().select_rules(|_, _| 5)", &["does not name rules", "`&'static str`"]),
    ("KeyWithRules::new(5, 5)", &["does not name rules", "`&'static str`"]),
];

#[test]
fn the_messages_show_what_to_write() {
    let lines: String =
        WRONG.iter().map(|(code, _)| format!("const _: fn() = || _ = {code};\n")).collect();
    let imports = "use throttle_http::{Options, RequestHead, identity::*};\n";
    let messages = check("wrong", &format!("{imports}{lines}"));
    for (nth, (code, words)) in WRONG.iter().enumerate() {
        let place = format!("--> src/lib.rs:{}:", nth + 2);
        let mut of_line = messages.split("\n\n").filter(|message| message.contains(&place));
        let message = of_line.next().unwrap_or_else(|| panic!("{code} compiles: {messages}"));
        for word in *words {
            assert!(message.contains(word), "{word} is not in the error of {code}:\n{message}");
        }
    }
}

/// Inference is the reason for these two options.
#[test]
fn functions_need_no_types() {
    let code = "pub fn options() -> throttle_http::Options {
        throttle_http::Options::new().key_by(|head| head.header(\"x-tenant\").map(str::to_owned))
            .cost_by(|head| head.path().len() as u64)
    }";
    assert!(!check("inferred", code).contains("error"));
}

/// Returns the messages of the compiler for a library that depends on this crate.
fn check(name: &str, code: &str) -> String {
    let this = Path::new(env!("CARGO_MANIFEST_DIR"));
    let package = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compile_errors");
    let target = package.join("target");
    let package = package.join(name);
    let manifest = format!(
        "[package]\nname = \"{name}\"\nedition = \"2024\"\n[dependencies]\nthrottle-http.path = {this:?}\n[workspace]\n"
    );
    fs::create_dir_all(package.join("src")).unwrap();
    fs::write(package.join("Cargo.toml"), manifest).unwrap();
    fs::write(package.join("src/lib.rs"), code).unwrap();
    fs::copy(this.join("../../Cargo.lock"), package.join("Cargo.lock")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["check", "--offline", "--quiet", "--color=never"]).current_dir(&package);
    let output = cargo.env("CARGO_TARGET_DIR", target).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}
