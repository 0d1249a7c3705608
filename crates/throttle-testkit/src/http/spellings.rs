//! One path, in all the ways in which a client can spell it.

use std::fmt::Write as _;

use http::Uri;

/// What is put in place of a slash.
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
/// What is put behind a segment.
const ENDS: [&str; 11] =
    [";", ";x=1", "%3b", "%3Bx", ".", "%2e", "%20", "%00", "%ff", "%25", "?x=/"];

/// Returns a path and odd spellings of it: what an attacker sends to reach the handler of the path and not its limit.
///
/// They have escapes with lower and upper case hexadecimal digits, escapes that are escaped, escapes that other
/// escapes make up, overlong UTF-8, capitals, repeated and escaped slashes, `.`, `..`, `;`, and a query. Many name
/// another path, or none: send them to a whole application, note what its handlers see, and compare how often each
/// was reached with its limit.
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
            // Each becomes an escape where escapes are decoded, and the character where that is done twice.
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
        all.extend(ENDS.map(|end| format!("{}{end}{}", &path[..at], &path[at..])));
    }
    all.extend(ENDS.into_iter().chain(["/", "%2f"]).map(|end| format!("{path}{end}")));
    all.retain(|spelling| spelling.starts_with('/') && spelling.parse::<Uri>().is_ok());
    all
}

/// Returns a path, and the same with escapes in place of characters that need none.
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

/// Replaces the one byte at a place.
fn replaced(path: &str, at: usize, by: &str) -> String {
    format!("{}{by}{}", &path[..at], &path[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_is_there_once() {
        let all = spellings("/api/users/me");
        let mut sorted = all.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), all.len());
        assert!(all.len() > 150, "{}", all.len());
    }

    #[test]
    fn overlong_utf_8_would_be_the_character_if_it_were_allowed() {
        let all = spellings("/login");
        assert!(all.contains(&"/%c1%acogin".to_owned()), "{all:?}");
        assert!(all.contains(&"/%e0%81%acogin".to_owned()), "{all:?}");
    }
}
