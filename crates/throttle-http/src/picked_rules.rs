//! Rules that are selected for each request.

use std::{borrow::Cow, sync::Arc};

use smallvec::SmallVec;

/// The names of the rules that were selected for a request.
///
/// Up to four names are stored inline. Names of type `&'static str` or [`Arc<str>`] are not copied.
#[derive(Clone, Default, Debug)]
pub struct PickedRules {
    names: SmallVec<[Name; 4]>,
}

#[derive(Clone, Debug)]
enum Name {
    Static(&'static str),
    Shared(Arc<str>),
    Owned(String),
}

/// A selection of rules: one name, several, or none, as text or in options, arrays and vectors.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
/// # mod ratethrottle { pub use throttle_http::*; pub mod options { pub use super::*; } }
/// use ratethrottle::options::IntoRules;
///
/// fn takes(_: impl IntoRules) {}
///
/// takes("free");
/// takes(Some("pro"));
/// takes(["burst", "daily"]);
/// takes(Arc::<str>::from("pro")); // from a table of plans
/// takes(vec![String::from("tenant-42")]);
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name rules",
    label = "not the name of a rule",
    note = "return a name (`&'static str`, `String` or `Arc<str>`), or an `Option`, an array or a `Vec` of names"
)]
pub trait IntoRules {
    /// Adds the names to a selection.
    fn add_to(self, picked: &mut PickedRules);
}

impl PickedRules {
    /// Creates a selection of these names.
    #[must_use]
    pub fn new(names: impl IntoRules) -> Self {
        let mut picked = Self::default();
        names.add_to(&mut picked);
        picked
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Joins the names with those that always apply, without duplicates.
    pub(crate) fn join<'a>(&'a self, always: &'a [String]) -> SmallVec<[&'a str; 4]> {
        let mut all: SmallVec<[&str; 4]> = always.iter().map(String::as_str).collect();
        for name in self.names.iter().map(Name::as_str) {
            if !all.contains(&name) {
                all.push(name);
            }
        }
        all
    }
}

impl Name {
    fn as_str(&self) -> &str {
        match self {
            Self::Static(name) => name,
            Self::Shared(name) => name,
            Self::Owned(name) => name,
        }
    }
}

impl IntoRules for PickedRules {
    fn add_to(self, picked: &mut PickedRules) {
        picked.names.extend(self.names);
    }
}

impl IntoRules for &'static str {
    fn add_to(self, picked: &mut PickedRules) {
        picked.names.push(Name::Static(self));
    }
}

impl IntoRules for String {
    fn add_to(self, picked: &mut PickedRules) {
        picked.names.push(Name::Owned(self));
    }
}

impl IntoRules for Arc<str> {
    fn add_to(self, picked: &mut PickedRules) {
        picked.names.push(Name::Shared(self));
    }
}

impl IntoRules for Cow<'static, str> {
    fn add_to(self, picked: &mut PickedRules) {
        match self {
            Cow::Borrowed(name) => name.add_to(picked),
            Cow::Owned(name) => name.add_to(picked),
        }
    }
}

impl<R: IntoRules> IntoRules for Option<R> {
    fn add_to(self, picked: &mut PickedRules) {
        if let Some(rules) = self {
            rules.add_to(picked);
        }
    }
}

impl<R: IntoRules, const N: usize> IntoRules for [R; N] {
    fn add_to(self, picked: &mut PickedRules) {
        self.into_iter().for_each(|rules| rules.add_to(picked));
    }
}

impl<R: IntoRules> IntoRules for Vec<R> {
    fn add_to(self, picked: &mut PickedRules) {
        self.into_iter().for_each(|rules| rules.add_to(picked));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(rules: impl IntoRules, always: &[&str]) -> Vec<String> {
        let always: Vec<_> = always.iter().map(|name| (*name).to_owned()).collect();
        PickedRules::new(rules).join(&always).iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_text_of_any_type_and_number() {
        assert_eq!(joined("a", &[]), ["a"]);
        assert_eq!(joined(String::from("a"), &[]), ["a"]);
        assert_eq!(joined(Arc::<str>::from("a"), &[]), ["a"]);
        assert_eq!(joined(vec![Cow::Borrowed("a"), Cow::Owned("b".into())], &[]), ["a", "b"]);
        assert_eq!(joined([Some("b"), None, Some("a")], &[]), ["b", "a"]);
        assert_eq!(joined(None::<&'static str>, &[]), [""; 0]);
        assert_eq!(joined(["a"; 0], &[]), [""; 0]);
        assert_eq!(joined(["f", "e", "d", "c", "b", "a"], &[]), ["f", "e", "d", "c", "b", "a"]);
    }

    #[test]
    fn names_that_always_apply_come_first_and_none_is_repeated() {
        assert_eq!(joined(["pro", "burst", "pro"], &["burst", "all"]), ["burst", "all", "pro"]);
    }
}
