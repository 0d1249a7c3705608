//! Resolution of paths, through re-exports, to the file that defines the name.

use std::collections::HashSet;

use crate::source::{Kind, Name, Source};

/// The definition that a path refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Module(usize),
    Item {
        module: usize,
        name: String,
        kind: Kind,
    },
    /// A definition in another crate.
    Elsewhere,
}

/// A name that is looked up in a module, and whether it is the last in its path.
type Step = (usize, String, bool);

impl Source {
    /// Returns the target of a path in a module, or `None` if no module of the crate defines the name.
    pub(crate) fn resolve(&self, module: usize, path: &[String]) -> Option<Target> {
        self.follow(module, path, &mut HashSet::new())
    }

    /// Follows a path. `seen` contains the names that are being resolved: a name that resolves to itself is that of
    /// another crate, as in `pub use redis`.
    fn follow(&self, module: usize, path: &[String], seen: &mut HashSet<Step>) -> Option<Target> {
        let mut module = module;
        let mut rest = path;
        let mut is_first = true;
        loop {
            let Some((name, below)) = rest.split_first() else {
                return Some(Target::Module(module));
            };
            match name.as_str() {
                "crate" if is_first => module = 0,
                "self" if is_first => {}
                // `self::super::` is allowed, too.
                "super" => module = self.modules[module].parent?,
                name => match self.look_up(module, name, below.is_empty(), seen)? {
                    Target::Module(next) => module = next,
                    // The rest is a variant or an associated item.
                    target => return Some(target),
                },
            }
            is_first = is_first && name == "self";
            rest = below;
        }
    }

    fn look_up(
        &self,
        module: usize,
        name: &str,
        is_last: bool,
        seen: &mut HashSet<Step>,
    ) -> Option<Target> {
        let step = (module, name.to_owned(), is_last);
        if !seen.insert(step.clone()) {
            return None;
        }
        let found = self.candidates(module, name, seen);
        seen.remove(&step);
        let is_module = |target: &Target| matches!(target, Target::Module(_));
        // A function and a module may have the same name; only a module can have a rest.
        let wanted = found.iter().find(|target| is_module(target) != is_last);
        wanted.or(found.first()).cloned()
    }

    fn candidates(&self, module: usize, name: &str, seen: &mut HashSet<Step>) -> Vec<Target> {
        let meanings = self.modules[module].names.get(name).map_or(&[][..], Vec::as_slice);
        let mut found: Vec<_> = meanings
            .iter()
            .filter_map(|meaning| match meaning {
                Name::Item(kind) => {
                    Some(Target::Item { module, name: name.to_owned(), kind: *kind })
                }
                Name::Module(id) => Some(Target::Module(*id)),
                Name::Import { path, .. } => self.follow(module, path, seen).or_else(|| {
                    let is_own = matches!(path[0].as_str(), "crate" | "self" | "super");
                    (!is_own).then_some(Target::Elsewhere)
                }),
            })
            .collect();
        if found.is_empty() {
            for glob in &self.modules[module].globs {
                if let Some(Target::Module(from)) = self.follow(module, glob, seen) {
                    found.extend(self.look_up(from, name, true, seen));
                }
            }
        }
        found
    }
}
