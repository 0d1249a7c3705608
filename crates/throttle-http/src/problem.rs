//! Bodies of rejections: problem details (RFC 9457).

use bytes::Bytes;
use serde::Serialize;

/// The media type of problem details ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
pub const CONTENT_TYPE: &str = "application/problem+json";
/// The problem type of a request that a limit rejects
/// ([draft-ietf-httpapi-ratelimit-headers-11](https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-11)).
pub const QUOTA_EXCEEDED: &str = "https://iana.org/assignments/http-problem-types#quota-exceeded";
/// The problem type of a request that cannot be checked because the storage fails, of the same draft.
pub const REDUCED_CAPACITY: &str =
    "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity";

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Problem<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    violated_policies: Vec<&'a str>,
}

/// Returns a problem with the policies that a request violates.
pub(crate) fn quota_exceeded<'a>(policies: impl IntoIterator<Item = &'a str>) -> Bytes {
    Problem {
        r#type: QUOTA_EXCEEDED,
        title: "Request cannot be satisfied as assigned quota has been exceeded",
        status: 429,
        detail: None,
        violated_policies: policies.into_iter().collect(),
    }
    .render()
}

/// Returns a problem for a request that cannot be checked because the storage fails.
pub(crate) fn reduced_capacity() -> Bytes {
    let title = "Request cannot be satisfied due to temporary server capacity constraints";
    let (r#type, status) = (REDUCED_CAPACITY, 503);
    Problem { r#type, title, status, detail: None, violated_policies: Vec::new() }.render()
}

/// Returns a problem with a status and a detail.
pub(crate) fn plain(status: u16, title: &str, detail: &str) -> Bytes {
    let (r#type, detail) = ("about:blank", Some(detail));
    Problem { r#type, title, status, detail, violated_policies: Vec::new() }.render()
}

impl Problem<'_> {
    fn render(&self) -> Bytes {
        // Serializing texts and a number cannot fail.
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &Bytes) -> &str {
        std::str::from_utf8(body).unwrap()
    }

    #[test]
    fn a_rejection_names_the_policies_and_their_problem_type() {
        let body = quota_exceeded(["api", "a \"b\" \\c"]);
        let expected = r#"{"type":"https://iana.org/assignments/http-problem-types#quota-exceeded","title":"Request cannot be satisfied as assigned quota has been exceeded","status":429,"violated-policies":["api","a \"b\" \\c"]}"#;
        assert_eq!(text(&body), expected);
    }

    #[test]
    fn a_request_that_cannot_be_checked_names_no_policy() {
        let expected = r#"{"type":"https://iana.org/assignments/http-problem-types#temporary-reduced-capacity","title":"Request cannot be satisfied due to temporary server capacity constraints","status":503}"#;
        assert_eq!(text(&reduced_capacity()), expected);
    }

    #[test]
    fn any_detail_makes_a_valid_document() {
        for detail in ["", "\"quoted\"", "line\nend\t\0", "\u{e9} \u{1f980} \u{2028}", "</script>"]
        {
            let body = plain(400, "Bad Request", detail);
            let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(read["detail"], detail);
            assert_eq!((&read["type"], &read["status"]), (&"about:blank".into(), &400.into()));
            assert_eq!(read.as_object().map(serde_json::Map::len), Some(4));
        }
    }
}
