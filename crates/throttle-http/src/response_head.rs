//! The head of a response.

use std::fmt;

use http::{HeaderMap, StatusCode};

/// The head of a response, for functions that decide whether its request counts, or compute its cost.
#[derive(Copy, Clone)]
pub struct ResponseHead<'a> {
    status: StatusCode,
    headers: Headers<'a>,
}

#[derive(Copy, Clone)]
enum Headers<'a> {
    Own(&'a HeaderMap),
    View(&'a dyn ResponseView),
}

/// A response of a framework that does not use the types of `http`.
///
/// Convert its header fields only when they are first read: most responses change no charge.
pub trait ResponseView: fmt::Debug + Sync {
    /// Returns the header fields.
    fn headers(&self) -> &HeaderMap;
}

/// Leaves out the header fields, which can contain secrets such as cookies.
impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead").field("status", &self.status).finish_non_exhaustive()
    }
}

impl<'a> ResponseHead<'a> {
    /// Creates the head of a response.
    #[inline]
    #[must_use]
    pub fn new(status: StatusCode, headers: &'a HeaderMap) -> Self {
        Self { status, headers: Headers::Own(headers) }
    }

    /// Creates the head of a response of a framework that does not use the types of `http`.
    #[must_use]
    pub fn from_view(status: StatusCode, view: &'a dyn ResponseView) -> Self {
        Self { status, headers: Headers::View(view) }
    }

    /// Returns the status, which can be compared with a number.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the header fields, without the fields of this limit, which are written later.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        match self.headers {
            Headers::Own(headers) => headers,
            Headers::View(view) => view.headers(),
        }
    }

    /// Returns the first value of a header field, if it exists and is visible ASCII.
    #[must_use]
    pub fn header(&self, name: impl AsRef<str>) -> Option<&'a str> {
        self.headers().get(name.as_ref())?.to_str().ok()
    }
}
