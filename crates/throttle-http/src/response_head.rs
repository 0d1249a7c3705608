//! The head of a response, for the functions that say what its request is charged.

use std::fmt;

use http::{HeaderMap, StatusCode};

/// The head of a response: what functions see that decide whether its request counts, or what it cost.
#[derive(Copy, Clone, Debug)]
pub struct ResponseHead<'a> {
    status: StatusCode,
    headers: Headers<'a>,
}

#[derive(Copy, Clone, Debug)]
enum Headers<'a> {
    Own(&'a HeaderMap),
    View(&'a dyn ResponseView),
}

/// A response of a framework that has other types than those of `http`.
///
/// Its header fields are best converted when they are first read: most responses change nothing.
pub trait ResponseView: fmt::Debug + Sync {
    /// Returns the header fields.
    fn headers(&self) -> &HeaderMap;
}

impl<'a> ResponseHead<'a> {
    /// Creates the head of a response.
    #[inline]
    #[must_use]
    pub fn new(status: StatusCode, headers: &'a HeaderMap) -> Self {
        Self { status, headers: Headers::Own(headers) }
    }

    /// Creates the head of a response of a framework with types of its own.
    #[must_use]
    pub fn from_view(status: StatusCode, view: &'a dyn ResponseView) -> Self {
        Self { status, headers: Headers::View(view) }
    }

    /// Returns the status; it can be compared to a number.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the header fields, without those of this limit.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        match self.headers {
            Headers::Own(headers) => headers,
            Headers::View(view) => view.headers(),
        }
    }

    /// Returns the first value of a header field, if it is there and is visible ASCII.
    #[must_use]
    pub fn header(&self, name: impl AsRef<str>) -> Option<&'a str> {
        self.headers().get(name.as_ref())?.to_str().ok()
    }
}
