//! Exempt paths.

use std::borrow::Cow;

use http::Method;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::head::RequestHead;

/// The usual paths at which load balancers and orchestrators check a service.
const HEALTH_CHECKS: [&str; 6] = ["/health", "/healthz", "/livez", "/readyz", "/startupz", "/ping"];

/// The characters, besides `%`, that clients escape in paths by the URL standard.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`');

/// A path that cannot be exempt, because no request has it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} is not a valid path to exempt: {why}; write {instead}")]
pub struct InvalidPath {
    pattern: String,
    why: &'static str,
    instead: String,
}

throttle_core::debug_as_text!(InvalidPath);

/// The paths whose requests are exempt.
pub(super) struct ExemptPaths {
    exact: Vec<String>,
    /// Prefixes, each including its final slash.
    prefixes: Vec<String>,
}

impl ExemptPaths {
    pub(super) fn new(patterns: impl Iterator<Item = String>) -> Result<Self, InvalidPath> {
        let (mut exact, mut prefixes) = (Vec::new(), Vec::new());
        for pattern in patterns {
            if let Some((why, instead)) = invalid_reason(&pattern) {
                return Err(InvalidPath { pattern, why, instead });
            }
            let (path, all) = match pattern.strip_suffix('*') {
                Some(path) => (path, &mut prefixes),
                None => (&*pattern, &mut exact),
            };
            // Actix Web matches the decoded path, axum the path as it was sent: keep both forms.
            if let Cow::Owned(decoded) = percent_decode_str(path).decode_utf8_lossy() {
                all.push(decoded);
            }
            all.push(path.to_owned());
        }
        Ok(Self { exact, prefixes })
    }

    pub(super) fn contains(&self, path: &str) -> bool {
        self.exact.iter().any(|exact| exact == path)
            || self.prefixes.iter().any(|prefix| path.starts_with(prefix)) && !is_ambiguous(path)
    }
}

/// Returns the reason why no request can have such a path, and the path to write instead.
fn invalid_reason(pattern: &str) -> Option<(&'static str, String)> {
    let path = pattern.strip_suffix('*').unwrap_or(pattern);
    let why = match path {
        _ if !pattern.starts_with('/') => "it does not begin with \"/\"",
        _ if pattern.contains(['{', '}']) => {
            return Some(("route parameters are not supported", instead_of_route(pattern)));
        }
        _ if path.contains('*') => "\"*\" is allowed only at the end",
        _ if path.len() < pattern.len() && !path.ends_with('/') => {
            "\"*\" is allowed only after the last \"/\""
        }
        _ if path.contains(['?', '#']) => "a path has no query",
        _ if has_stray_percent(path) => "\"%\" must be followed by two hexadecimal digits",
        _ if is_ambiguous(path) => {
            "it contains \"..\", a backslash, or an escaped dot, slash, backslash, percent sign or byte that is not UTF-8"
        }
        _ => {
            let escaped = utf8_percent_encode(pattern, ESCAPED).to_string();
            return (escaped != pattern)
                .then(|| ("clients escape some of its characters", format!("{escaped:?}")));
        }
    };
    let instead = "a path such as \"/metrics\", or one with \"/*\" at the end for everything below it, such as \
                   \"/static/*\"";
    Some((why, instead.to_owned()))
}

fn instead_of_route(pattern: &str) -> String {
    let before = pattern.split(['{', '}']).next().unwrap_or_default();
    match before.rsplit_once('/') {
        Some((above, _)) if !above.is_empty() => {
            format!("\"{above}/*\" for everything below it, or use a function with `exempt`")
        }
        _ => "a function for `exempt` instead".to_owned(),
    }
}

/// Returns whether a server behind this one could resolve the path to one outside of its prefix.
fn is_ambiguous(path: &str) -> bool {
    let has_escaped = |hex: [u8; 2]| {
        path.as_bytes()
            .windows(3)
            .any(|part| part[0] == b'%' && part[1..].eq_ignore_ascii_case(&hex))
    };
    path.contains("..")
        // Decoding replaces bytes that are not UTF-8, such as an overlong dot, with U+FFFD.
        || path.contains(['\\', char::REPLACEMENT_CHARACTER])
        || [*b"2e", *b"2f", *b"5c"].into_iter().any(has_escaped)
        // A remaining `%` could be decoded a second time by the next server.
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
    fn a_path_is_compared_exactly_and_a_prefix_by_whole_segments() {
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
    fn no_ambiguous_path_is_exempt_by_a_prefix() {
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
    fn an_impossible_path_is_an_error_that_shows_it() {
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
    fn a_path_that_no_request_has_is_an_error_with_the_fix() {
        for (pattern, instead) in [
            ("/größe", "write \"/gr%C3%B6%C3%9Fe\""),
            ("/größe/*", "write \"/gr%C3%B6%C3%9Fe/*\""),
            ("/gr%C3%B6ße", "write \"/gr%C3%B6%C3%9Fe\""),
            ("/a b", "write \"/a%20b\""),
            ("/a\tb", "write \"/a%09b\""),
            ("/<id>", "write \"/%3Cid%3E\""),
            (
                "/users/{id}",
                "write \"/users/*\" for everything below it, or use a function with `exempt`",
            ),
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
