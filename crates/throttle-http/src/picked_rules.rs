//! Rules that are picked for each request: plans.

use std::{borrow::Cow, sync::Arc};

use smallvec::SmallVec;

/// Holds the names of the rules that were picked for a request.
///
/// Up to four are kept in place, and names that are `&'static str` or [`Arc<str>`] are not copied.
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

/// Is the name of a rule, or several, or none: text, and options, arrays and vectors of it.
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
pub trait IntoRules {
    /// Adds the names.
    fn add_to(self, picked: &mut PickedRules);
}

impl PickedRules {
    /// Collects the names.
    #[must_use]
    pub fn new(names: impl IntoRules) -> Self {
        let mut picked = Self::default();
        names.add_to(&mut picked);
        picked
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Joins the names with those that always apply; one that stands in both is asked once.
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
    fn names_come_as_text_of_any_kind_and_number() {
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
    fn what_always_applies_comes_first_and_no_name_comes_twice() {
        assert_eq!(joined(["pro", "burst", "pro"], &["burst", "all"]), ["burst", "all", "pro"]);
    }
}
