//! Paths that are not limited.

use http::Method;

use crate::head::RequestHead;

/// Where load balancers and orchestrators ask whether a service is well.
const HEALTH_CHECKS: [&str; 6] = ["/health", "/healthz", "/livez", "/readyz", "/startupz", "/ping"];

/// Says that a path that is to be exempt can be none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{pattern:?} is no path to exempt: {why}; write a path such as \"/metrics\", or one with \"/*\" at \
     its end for all below it, such as \"/static/*\""
)]
pub struct InvalidPath {
    pattern: String,
    why: &'static str,
}

/// Says whether requests are exempt by their path.
pub(super) struct ExemptPaths {
    exact: Vec<String>,
    /// Each with the slash at its end.
    below: Vec<String>,
}

impl ExemptPaths {
    pub(super) fn new(patterns: impl Iterator<Item = String>) -> Result<Self, InvalidPath> {
        let (mut exact, mut below) = (Vec::new(), Vec::new());
        for pattern in patterns {
            let wrong = |why| Err(InvalidPath { pattern: pattern.clone(), why });
            let (path, is_below) = match pattern.strip_suffix('*') {
                Some(path) if path.ends_with('/') => (path, true),
                Some(_) => return wrong("\"*\" stands only after the last \"/\""),
                None => (&*pattern, false),
            };
            match path {
                _ if !path.starts_with('/') => return wrong("it does not begin with \"/\""),
                _ if path.contains('*') => return wrong("\"*\" stands only at the end"),
                _ if path.contains(['?', '#']) => return wrong("a path has no query"),
                _ if is_roundabout(path) => return wrong("it goes up or has an escaped slash"),
                _ if is_below => below.push(path.to_owned()),
                _ => exact.push(path.to_owned()),
            }
        }
        Ok(Self { exact, below })
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.exact.iter().any(|exact| exact == path)
            || self.below.iter().any(|below| path.starts_with(below)) && !is_roundabout(path)
    }
}

/// Returns whether a server behind could read the path as one that is not below its beginning.
fn is_roundabout(path: &str) -> bool {
    let has_escaped = |hex: [u8; 2]| {
        path.as_bytes()
            .windows(3)
            .any(|part| part[0] == b'%' && part[1..].eq_ignore_ascii_case(&hex))
    };
    path.contains("..")
        || path.contains('\\')
        || [*b"2e", *b"2f", *b"5c"].into_iter().any(has_escaped)
}

pub(super) fn is_health_check(head: &RequestHead<'_>) -> bool {
    matches!(*head.method(), Method::GET | Method::HEAD) && HEALTH_CHECKS.contains(&head.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exempt(patterns: &[&str], path: &str) -> bool {
        let patterns = patterns.iter().map(|pattern| (*pattern).to_owned());
        ExemptPaths::new(patterns).unwrap().contains(path)
    }

    #[test]
    fn a_path_is_exempt_to_the_letter_and_a_prefix_by_whole_segments() {
        let patterns = ["/metrics", "/static/*"];
        for path in ["/metrics", "/static/", "/static/a.css", "/static/a/b%20c.css"] {
            assert!(exempt(&patterns, path), "{path}");
        }
        for path in
            ["/", "", "/metrics/", "/metric", "/METRICS", "/static", "/staticfile", "/a/static/b"]
        {
            assert!(!exempt(&patterns, path), "{path}");
        }
        assert!(exempt(&["/*"], "/anything") && exempt(&["/"], "/") && !exempt(&["/"], "/a"));
    }

    #[test]
    fn no_way_round_leads_out_of_a_prefix() {
        for path in [
            "/static/../api",
            "/static/%2e%2e/api",
            "/static/%2E./api",
            "/static/a/..%2fapi",
            "/static/a%2Fb",
            "/static/..\\api",
            "/static/%5c..",
            "/static/..",
        ] {
            assert!(!exempt(&["/static/*"], path), "{path}");
        }
    }

    #[test]
    fn what_can_be_no_path_is_an_error_that_shows_it() {
        for pattern in [
            "",
            "metrics",
            "*",
            "/a*",
            "/*/b",
            "/a?b",
            "/a#b",
            "/a/../b/*",
            "http://a/b",
            "/%2e%2e/*",
        ] {
            let result = ExemptPaths::new([pattern.to_owned()].into_iter());
            let text = result.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(&format!("{pattern:?}")) && text.contains("/static/*"), "{text}");
        }
    }
}
