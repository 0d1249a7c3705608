//! The allowed dependencies between crates.

use std::{path::Path, process::Command};

use serde_json::Value;

const CORE: &str = "ratethrottle-core";

/// The published crates, from the lowest layer up: their dependencies, and those behind a feature.
///
/// Unpublished crates are above all of them. Dev-dependencies are not restricted.
const LAYERS: &[(&str, &[&str], &[&str])] = &[
    (CORE, &[], &[]),
    ("throttle-memory", &[CORE], &[]),
    ("throttle-redis", &[CORE], &[]),
    ("throttle-resilience", &[CORE], &[]),
    ("throttle-http", &[CORE], &[]),
    ("throttle-tower", &[CORE, "throttle-http"], &["throttle-memory"]),
    ("throttle-actix", &[CORE, "throttle-http"], &["throttle-memory"]),
    (
        "ratethrottle",
        &[CORE],
        &[
            "throttle-memory",
            "throttle-redis",
            "throttle-resilience",
            "throttle-http",
            "throttle-tower",
            "throttle-actix",
            // For the tests of users.
            "throttle-testkit",
        ],
    ),
    ("throttle-testkit", &[CORE, "throttle-http", "throttle-memory"], &[]),
];

/// A crate of the workspace, with its dependencies in the workspace.
#[derive(Debug)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) is_published: bool,
    /// The names of dependencies, and whether each is optional.
    pub(crate) dependencies: Vec<(String, bool)>,
}

/// Returns the dependencies that violate the layers.
pub(crate) fn violations(crates: &[Crate]) -> Vec<String> {
    let mut found = Vec::new();
    for krate in crates.iter().filter(|krate| krate.is_published) {
        let name = &krate.name;
        let Some((_, always, by_feature)) = LAYERS.iter().find(|layer| layer.0 == name) else {
            found.push(format!("{name} is published and has no layer: add it to LAYERS"));
            continue;
        };
        for (on, is_optional) in &krate.dependencies {
            let on = on.as_str();
            if by_feature.contains(&on) && !is_optional {
                found.push(format!("{name} depends on {on} without a feature"));
            } else if !always.contains(&on) && !by_feature.contains(&on) {
                found.push(format!("{name} depends on {on}, which is not in a layer below it"));
            }
        }
    }
    found
}

/// Reads the crates of a checkout by `cargo metadata`.
pub(crate) fn read(checkout: &Path) -> Vec<Crate> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(checkout.join("Cargo.toml"))
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let packages = list(&metadata["packages"]);
    let is_own = |name: &Value| packages.iter().any(|package| package["name"] == *name);
    packages
        .iter()
        .map(|package| Crate {
            name: text(&package["name"]),
            is_published: package["publish"].is_null(),
            dependencies: list(&package["dependencies"])
                .iter()
                .filter(|on| is_own(&on["name"]) && on["kind"] != "dev")
                .map(|on| (text(&on["name"]), on["optional"] == true))
                .collect(),
        })
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("the value is a list")
}

fn text(value: &Value) -> String {
    value.as_str().expect("the value is a string").to_owned()
}
