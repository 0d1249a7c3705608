//! Unusual spellings of a path.

use std::fmt::Write as _;

use http::Uri;

/// Replacements of a slash.
const SLASHES: [&str; 12] = [
    "//",
    "///",
    "/./",
    "/x/../",
    "/%2e/",
    "/x/%2E%2e/",
    "%2f",
    "%2F",
    "%252f",
    "/%2f",
    "%5c",
    "\\",
];
/// Suffixes of a segment.
const SUFFIXES: [&str; 11] =
    [";", ";x=1", "%3b", "%3Bx", ".", "%2e", "%20", "%00", "%ff", "%25", "?x=/"];

/// Returns a path and unusual spellings of it, which an attacker sends to reach a handler and evade its limit.
///
/// The spellings contain percent-escapes with lower and upper case digits, double and nested escapes, overlong
/// UTF-8, capitals, repeated and escaped slashes, `.`, `..`, `;` and a query. Many of them name another path or
/// no path at all. Send them to a complete application, count the calls of each handler, and compare the counts
/// with the limits.
///
/// # Examples
///
/// ```
/// let spellings = throttle_testkit::http::spellings("/login");
/// assert_eq!(spellings[0], "/login");
/// for odd in ["/%6Cogin", "/%256cogin", "//login", "/x/../login", "/login;x=1"] {
///     assert!(spellings.iter().any(|spelling| spelling == odd), "{odd}");
/// }
/// ```
#[must_use]
pub fn spellings(path: &str) -> Vec<String> {
    let mut all = escaped(path);
    for (at, char) in path.char_indices().filter(|(_, char)| char.is_ascii_alphanumeric()) {
        let replaced = |by: &str| replaced(path, at, by);
        let hex = format!("{:02x}", u32::from(char));
        let (high, low) = hex.split_at(1);
        let digits = |of: &str| of.bytes().fold(String::new(), |all, digit| all + &escape(digit));
        all.extend([
            replaced(&format!("%25{hex}")),
            replaced(&format!("%2525{hex}")),
            // Decoding once yields an escape, decoding twice yields the character.
            replaced(&format!("%{}", digits(&hex))),
            replaced(&format!("%{high}{}", digits(low))),
            replaced(&format!("%25{}", digits(&hex))),
            replaced(&format!("%u00{hex}")),
            replaced(&format!("%c{:x}%{:02x}", char as u32 >> 6, 0x80 | (char as u32 & 0x3f))),
            replaced(&format!("%e0%8{:x}%{:02x}", char as u32 >> 6, 0x80 | (char as u32 & 0x3f))),
            replaced(&char.to_uppercase().to_string()),
        ]);
    }
    for (at, _) in path.match_indices('/') {
        all.extend(SLASHES.map(|odd| replaced(path, at, odd)));
        all.extend(SUFFIXES.map(|end| format!("{}{end}{}", &path[..at], &path[at..])));
    }
    all.extend(SUFFIXES.into_iter().chain(["/", "%2f"]).map(|end| format!("{path}{end}")));
    all.retain(|spelling| spelling.starts_with('/') && spelling.parse::<Uri>().is_ok());
    all
}

/// Returns a path, and spellings of it with needless escapes.
pub(super) fn escaped(path: &str) -> Vec<String> {
    let mut all = vec![path.to_owned()];
    for (at, char) in path.char_indices().filter(|(_, char)| char.is_ascii_alphanumeric()) {
        let upper = replaced(path, at, &escape(char as u8));
        let lower = replaced(path, at, &escape(char as u8).to_ascii_lowercase());
        all.extend(
            [Some(lower).filter(|lower| *lower != upper), Some(upper)].into_iter().flatten(),
        );
    }
    all.push(path.bytes().fold(String::new(), |all, byte| match byte {
        b'/' => all + "/",
        byte => all + &escape(byte),
    }));
    all
}

fn escape(byte: u8) -> String {
    let mut escape = String::new();
    _ = write!(escape, "%{byte:02X}");
    escape
}

/// Replaces the byte at an index.
fn replaced(path: &str, at: usize, by: &str) -> String {
    format!("{}{by}{}", &path[..at], &path[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_unique() {
        let all = spellings("/api/users/me");
        let mut sorted = all.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), all.len());
        assert!(all.len() > 150, "{}", all.len());
    }

    #[test]
    fn overlong_utf_8_encodes_the_character() {
        let all = spellings("/login");
        assert!(all.contains(&"/%c1%acogin".to_owned()), "{all:?}");
        assert!(all.contains(&"/%e0%81%acogin".to_owned()), "{all:?}");
    }
}
