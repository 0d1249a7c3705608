//! What is known of a request before its body.

use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderMap, Method, Uri};

/// Shows a request without its body to the functions that pick keys and costs.
#[derive(Copy, Clone, Debug)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
    peer: Option<IpAddr>,
}

impl<'a> RequestHead<'a> {
    /// Looks at a request whose connection comes from `peer`, if that is known.
    pub fn new<B>(request: &'a http::Request<B>, peer: Option<IpAddr>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
            peer: peer.or_else(|| peer_of(request.extensions())),
        }
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// Returns the target.
    #[must_use]
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// Returns the path of the target.
    #[must_use]
    pub fn path(&self) -> &'a str {
        self.uri.path()
    }

    /// Returns the header fields.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Returns the first value of a header field, if it is there and is visible ASCII.
    #[must_use]
    pub fn header(&self, name: impl AsRef<str>) -> Option<&'a str> {
        self.headers.get(name.as_ref())?.to_str().ok()
    }

    /// Returns what layers before this one put beside the request.
    #[must_use]
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }

    /// Returns the address that the connection comes from, if the server said it.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }
}

/// Finds the address that a server of one's own put beside the request.
fn peer_of(extensions: &Extensions) -> Option<IpAddr> {
    let socket = extensions.get::<SocketAddr>().map(SocketAddr::ip);
    socket.or_else(|| extensions.get::<IpAddr>().copied())
}
