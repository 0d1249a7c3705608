//! Tests of the check, with small crates.

use crate::{
    crates::{Crate, violations},
    graph::{Graph, all_cycles, cycles, of_files, unresolved},
    source::{Source, Sources},
};

fn source(files: &[(&str, &str)]) -> Source {
    let files: Sources =
        files.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())).collect();
    Source::read(&files, "lib.rs")
}

/// Returns the cycles of files.
fn found(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let source = source(files);
    assert_eq!(unresolved(&source), [""; 0]);
    cycles(&of_files(&source))
}

/// Returns whether a file uses a name that another file defines.
fn names(graph: &Graph, from: &str, to: &str, name: &str) -> bool {
    graph.get(from).and_then(|targets| targets.get(to)).is_some_and(|names| names.contains(name))
}

#[test]
fn modules_that_depend_one_way_are_not_a_cycle() {
    let found = found(&[
        ("lib.rs", "mod a; mod b; pub use a::A; pub use b::B;"),
        ("a.rs", "pub struct A;"),
        ("b.rs", "use crate::a::A; pub struct B(A);"),
    ]);
    assert_eq!(found, [[""; 0]; 0]);
}

#[test]
fn two_files_that_import_each_other_are_reported_with_the_names() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B);"),
        ("b.rs", "use super::a; pub struct B; fn f(_: a::A) {}"),
    ];
    assert_eq!(found(&files), [["a.rs", "b.rs"]]);
    let texts = all_cycles(&source(&files));
    assert_eq!(
        texts[0],
        "files: cycle of 2: a.rs, b.rs\n    a.rs <-> b.rs: B\n    b.rs <-> a.rs: A\n",
    );
}

#[test]
fn a_cycle_through_a_re_export_is_found() {
    let found = found(&[
        ("lib.rs", "mod a; mod b; pub use self::{a::A, b::inner::B};"),
        ("a.rs", "use crate::B; pub struct A(B);"),
        ("b/mod.rs", "pub(crate) mod inner; use self::inner::B;"),
        ("b/inner.rs", "pub struct B; impl B { fn f(_: crate::A) {} }"),
    ]);
    assert_eq!(found, [["a.rs", "b/inner.rs"]]);
}

#[test]
fn a_cycle_through_a_renamed_re_export_and_a_glob_is_found() {
    let found = found(&[
        (
            "lib.rs",
            "mod a; mod b; mod prelude { pub use crate::a::*; pub use crate::b::B as Bee; }",
        ),
        ("a.rs", "use crate::prelude::Bee; pub struct A(Bee);"),
        ("b.rs", "use crate::prelude::*; pub struct B; fn f(_: A) {}"),
    ]);
    assert_eq!(found, [["a.rs", "b.rs"]]);
}

#[test]
fn a_child_that_imports_from_a_parent_that_uses_it_is_a_cycle() {
    let found = found(&[
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod child; pub struct A; fn f() { child::g() }"),
        ("a/child.rs", "use super::A; pub fn g() { let _: A; }"),
    ]);
    assert_eq!(found, [["a/child.rs", "a/mod.rs"]]);
}

#[test]
fn a_child_that_imports_from_a_parent_that_only_re_exports_it_is_not_a_cycle() {
    let found = found(&[
        ("lib.rs", "mod a;"),
        ("a/mod.rs", "mod child; pub use self::child::{Trait, g}; pub struct A;"),
        ("a/child.rs", "use super::A; pub trait Trait {} pub fn g(_: A) {}"),
    ]);
    assert_eq!(found, [[""; 0]; 0]);
}

#[test]
fn a_trait_is_a_dependency_if_only_its_methods_are_used() {
    let files = source(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::Help; fn f(x: u8) { x.help() }"),
        ("b.rs", "pub trait Help {}"),
    ]);
    assert!(names(&of_files(&files), "a.rs", "b.rs", "Help"));
}

#[test]
fn names_in_macros_in_blocks_and_in_pinned_structs_are_found() {
    let files = source(&[
        ("lib.rs", "mod a; mod b; mod c;"),
        ("a.rs", "fn f() { assert!(crate::b::g() > 1); { use crate::c::C as D; } }"),
        ("b.rs", "pin_project! { pub struct P { #[pin] c: crate::c::C } } pub fn g() -> u8 { 2 }"),
        ("c.rs", "pub struct C; fn f(_: crate::b::P) {}"),
    ]);
    let graph = of_files(&files);
    assert!(names(&graph, "a.rs", "b.rs", "g"));
    assert!(names(&graph, "a.rs", "c.rs", "C"));
    assert!(names(&graph, "b.rs", "c.rs", "C"));
    assert!(names(&graph, "c.rs", "b.rs", "P"));
}

#[test]
fn test_code_may_import_anything() {
    let found = found(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::B; pub struct A(B); #[cfg(test)] mod tests;"),
        (
            "b.rs",
            "pub struct B; #[cfg(test)] mod tests { use crate::a::A; } #[cfg(test)] fn f(_: crate::a::A) {}",
        ),
    ]);
    assert_eq!(found, [[""; 0]; 0]);
}

#[test]
fn a_module_and_a_function_may_have_the_same_name() {
    let files = source(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b::go; fn f() { go(); crate::b::go::stop() }"),
        ("b/mod.rs", "mod go; pub use self::go::go;"),
        ("b/go.rs", "pub fn go() {} pub fn stop() {}"),
    ]);
    let graph = of_files(&files);
    assert!(names(&graph, "a.rs", "b/go.rs", "go"));
    assert!(names(&graph, "a.rs", "b/go.rs", "stop"));
}

#[test]
fn a_cycle_of_folders_without_a_cycle_of_files_is_found() {
    let files = [
        ("lib.rs", "mod a; mod b;"),
        ("a/mod.rs", "mod one; mod two; pub use self::{one::One, two::Two};"),
        ("a/one.rs", "pub struct One;"),
        ("a/two.rs", "use crate::b::B; pub struct Two(B);"),
        ("b.rs", "use crate::a::One; pub struct B(One);"),
    ];
    assert_eq!(found(&files), [[""; 0]; 0]);
    let texts = all_cycles(&source(&files));
    assert_eq!(texts, ["modules: cycle of 2: a, b\n    a <-> b: B\n    b <-> a: One\n"]);
}

#[test]
fn an_unresolved_path_is_reported() {
    let files = source(&[("lib.rs", "mod a;"), ("a.rs", "fn f(_: crate::b::B) {}")]);
    assert_eq!(unresolved(&files), ["a.rs: crate::b::B"]);
}

#[test]
fn a_dependency_on_a_higher_layer_or_without_a_feature_is_reported() {
    let krate = |name: &str, is_published, dependencies: &[(&str, bool)]| Crate {
        name: name.to_owned(),
        is_published,
        dependencies: dependencies.iter().map(|(on, by)| ((*on).to_owned(), *by)).collect(),
    };
    let found = violations(&[
        krate("ratethrottle-core", true, &[("throttle-memory", true)]),
        krate("throttle-memory", true, &[("ratethrottle-core", false)]),
        krate("throttle-tower", true, &[("throttle-http", false), ("throttle-memory", false)]),
        krate("throttle-redis", true, &[("throttle-testbed", false)]),
        krate("throttle-soak", false, &[("throttle-redis", false)]),
        krate("throttle-new", true, &[]),
    ]);
    assert_eq!(
        found,
        [
            "ratethrottle-core depends on throttle-memory, which is not in a layer below it",
            "throttle-tower depends on throttle-memory without a feature",
            "throttle-redis depends on throttle-testbed, which is not in a layer below it",
            "throttle-new is published and has no layer: add it to LAYERS",
        ]
    );
}
