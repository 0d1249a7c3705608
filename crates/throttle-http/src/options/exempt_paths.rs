//! Paths that are not limited.

use std::borrow::Cow;

use http::Method;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::head::RequestHead;

/// Where load balancers and orchestrators ask whether a service is well.
const HEALTH_CHECKS: [&str; 6] = ["/health", "/healthz", "/livez", "/readyz", "/startupz", "/ping"];

/// What clients escape in paths, by the URL standard, and not `%`.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');

/// Says that a path that is to be exempt can be none.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{pattern:?} is no path to exempt: {why}; write {instead}")]
pub struct InvalidPath {
    pattern: String,
    why: &'static str,
    instead: String,
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
            if let Some((why, instead)) = mistake(&pattern) {
                return Err(InvalidPath { pattern, why, instead });
            }
            let (path, all) = match pattern.strip_suffix('*') {
                Some(path) => (path, &mut below),
                None => (&*pattern, &mut exact),
            };
            // A router that decodes paths shows them so.
            if let Cow::Owned(decoded) = percent_decode_str(path).decode_utf8_lossy() {
                all.push(decoded);
            }
            all.push(path.to_owned());
        }
        Ok(Self { exact, below })
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.exact.iter().any(|exact| exact == path)
            || self.below.iter().any(|below| path.starts_with(below)) && !is_roundabout(path)
    }
}

/// Returns why no request has such a path, and what to write instead.
fn mistake(pattern: &str) -> Option<(&'static str, String)> {
    let path = pattern.strip_suffix('*').unwrap_or(pattern);
    let why = match path {
        _ if !pattern.starts_with('/') => "it does not begin with \"/\"",
        _ if pattern.contains(['{', '}']) => {
            return Some(("parameters of routes are not read here", instead_of_route(pattern)));
        }
        _ if path.contains('*') => "\"*\" stands only at the end",
        _ if path.len() < pattern.len() && !path.ends_with('/') => {
            "\"*\" stands only after the last \"/\""
        }
        _ if path.contains(['?', '#']) => "a path has no query",
        _ if has_stray_percent(path) => "\"%\" stands only before two hexadecimal digits",
        _ if is_roundabout(path) => {
            "it goes up, or escapes a dot, a slash, a backslash, a percent sign or what is not UTF-8"
        }
        _ => {
            let escaped = utf8_percent_encode(pattern, ESCAPED).to_string();
            return (escaped != pattern)
                .then(|| ("clients escape some of its characters", format!("{escaped:?}")));
        }
    };
    let instead = "a path such as \"/metrics\", or one with \"/*\" at its end for all below it, such as \
                   \"/static/*\"";
    Some((why, instead.to_owned()))
}

fn instead_of_route(pattern: &str) -> String {
    let before = pattern.split(['{', '}']).next().unwrap_or_default();
    match before.rsplit_once('/') {
        Some((above, _)) if !above.is_empty() => {
            format!("\"{above}/*\" for all below it, or a function for `exempt`")
        }
        _ => "a function for `exempt`".to_owned(),
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
        // In place of bytes that are not UTF-8, such as an overlong dot, decoding leaves U+FFFD.
        || path.contains(['\\', char::REPLACEMENT_CHARACTER])
        || [*b"2e", *b"2f", *b"5c"].into_iter().any(has_escaped)
        // What is left of `%` could be decoded once more.
        || percent_decode_str(path).decode_utf8().map_or(true, |decoded| decoded.contains('%'))
}

fn has_stray_percent(path: &str) -> bool {
    let mut parts = path.split('%').skip(1);
    parts.any(|part| {
        !part.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    })
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
            "/static/%252e%252e/api",
            "/static/%%32%65%%32%65/api",
            "/static/%c0%ae%c0%ae/api",
            "/static/%e0%80%ae%e0%80%ae/api",
            "/static/\u{fffd}\u{fffd}/api",
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

    #[test]
    fn what_no_request_has_is_an_error_that_says_what_to_write() {
        for (pattern, instead) in [
            ("/größe", "write \"/gr%C3%B6%C3%9Fe\""),
            ("/größe/*", "write \"/gr%C3%B6%C3%9Fe/*\""),
            ("/gr%C3%B6ße", "write \"/gr%C3%B6%C3%9Fe\""),
            ("/a b", "write \"/a%20b\""),
            ("/a\tb", "write \"/a%09b\""),
            ("/<id>", "write \"/%3Cid%3E\""),
            ("/users/{id}", "write \"/users/*\" for all below it, or a function for `exempt`"),
            ("/users/{id}/avatar", "write \"/users/*\""),
            ("/v1/{id:.*}", "write \"/v1/*\""),
            ("/{tail}", "write a function for `exempt`"),
            ("/100%", "two hexadecimal digits"),
            ("/100%2", "two hexadecimal digits"),
            ("/%zz", "two hexadecimal digits"),
            ("/%ff", "not UTF-8"),
            ("/100%25", "percent sign"),
        ] {
            let result = ExemptPaths::new([pattern.to_owned()].into_iter());
            let text = result.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(text.contains(&format!("{pattern:?}")) && text.contains(instead), "{text}");
        }
        for pattern in ["/gr%C3%B6%C3%9Fe", "/a%20b/*", "/a+b;c=1,2/(d)!$&x", "/@:~-._", "/a%2Bb"] {
            assert!(ExemptPaths::new([pattern.to_owned()].into_iter()).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn a_path_with_escapes_is_exempt_as_it_is_sent_and_as_a_router_decodes_it() {
        let patterns = ["/gr%C3%B6%C3%9Fe", "/a%20b/*"];
        for path in ["/gr%C3%B6%C3%9Fe", "/größe", "/a%20b/c", "/a b/c"] {
            assert!(exempt(&patterns, path), "{path}");
        }
        for path in ["/gr%25C3%25B6%25C3%259Fe", "/a%2520b/c", "/a%20b", "/a+b/c"] {
            assert!(!exempt(&patterns, path), "{path}");
        }
    }
}
