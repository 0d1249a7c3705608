//! What is known of a request before its body.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use http::{Extensions, HeaderMap, HeaderValue, Method, Uri, Version, header::CONTENT_TYPE};

/// Shows a request without its body to the functions that pick keys and costs.
#[derive(Copy, Clone, Debug)]
pub struct RequestHead<'a> {
    parts: Parts<'a>,
    peer: Option<IpAddr>,
    route_of: RouteOf,
    is_call: bool,
}

/// Finds the pattern of the route beside the request.
type RouteOf = fn(&Extensions) -> Option<&str>;

#[derive(Copy, Clone, Debug)]
enum Parts<'a> {
    Own {
        method: &'a Method,
        uri: &'a Uri,
        version: Version,
        headers: &'a HeaderMap,
        extensions: &'a Extensions,
    },
    View(&'a dyn RequestView),
}

/// A request of a framework that has other types than those of `http`.
///
/// What is expensive to convert is best converted when it is first read: most keys are made of the peer
/// alone.
pub trait RequestView: fmt::Debug + Sync {
    /// Returns the method.
    fn method(&self) -> &Method;
    /// Returns the target.
    fn uri(&self) -> &Uri;
    /// Returns the version of the protocol.
    fn version(&self) -> Version;
    /// Returns the path of the target, which may be at hand where the target is not.
    fn path(&self) -> &str {
        self.uri().path()
    }
    /// Returns the header fields.
    fn headers(&self) -> &HeaderMap;
    /// Returns the value of `content-type`.
    fn content_type(&self) -> Option<&[u8]> {
        self.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes)
    }
    /// Returns what stands beside the request.
    fn extensions(&self) -> &Extensions;
    /// Returns the pattern of the route, such as `/users/{id}`, if there is one.
    fn route(&self) -> Option<&str> {
        None
    }
}

impl<'a> RequestHead<'a> {
    /// Creates the head of a request whose connection comes from `peer`, if that is known.
    ///
    /// Without a peer, the address is a [`SocketAddr`] or an [`IpAddr`] in the extensions, if there is one.
    pub fn new<B>(request: &'a http::Request<B>, peer: Option<IpAddr>) -> Self {
        let (method, uri) = (request.method(), request.uri());
        let (headers, extensions) = (request.headers(), request.extensions());
        Self::from_parts(method, uri, request.version(), headers, extensions, peer)
    }

    /// As [`new`](Self::new), for frameworks whose request is a type of its own that is made of those of
    /// `http`.
    pub fn from_parts(
        method: &'a Method,
        uri: &'a Uri,
        version: Version,
        headers: &'a HeaderMap,
        extensions: &'a Extensions,
        peer: Option<IpAddr>,
    ) -> Self {
        let parts = Parts::Own { method, uri, version, headers, extensions };
        let peer = peer.or_else(|| peer_of(extensions));
        Self { parts, peer, route_of: |_| None, is_call: false }
    }

    /// Says how the pattern of the route is found beside the request, if it is asked for. A [`RequestView`] has
    /// [`route`](RequestView::route) instead.
    #[must_use]
    pub fn with_route(mut self, route_of: fn(&Extensions) -> Option<&str>) -> Self {
        self.route_of = route_of;
        self
    }

    /// Says where the connection comes from, if that is known.
    #[must_use]
    pub fn with_peer(mut self, peer: Option<IpAddr>) -> Self {
        self.peer = peer;
        self
    }

    /// As [`new`](Self::new), for frameworks that have other types than those of `http`.
    pub fn from_view(view: &'a dyn RequestView, peer: Option<IpAddr>) -> Self {
        let peer = peer.or_else(|| peer_of(view.extensions()));
        Self { parts: Parts::View(view), peer, route_of: |_| None, is_call: false }
    }

    /// The same as that of a call, which is not written yet: its client may add fields.
    pub(crate) fn as_call(mut self) -> Self {
        self.is_call = true;
        self
    }

    pub(crate) fn is_call(&self) -> bool {
        self.is_call
    }

    /// Returns the method.
    #[must_use]
    pub fn method(&self) -> &'a Method {
        match self.parts {
            Parts::Own { method, .. } => method,
            Parts::View(view) => view.method(),
        }
    }

    /// Returns the target.
    #[must_use]
    pub fn uri(&self) -> &'a Uri {
        match self.parts {
            Parts::Own { uri, .. } => uri,
            Parts::View(view) => view.uri(),
        }
    }

    /// Returns the version of the protocol.
    #[must_use]
    pub fn version(&self) -> Version {
        match self.parts {
            Parts::Own { version, .. } => version,
            Parts::View(view) => view.version(),
        }
    }

    /// Returns the path of the target.
    #[must_use]
    pub fn path(&self) -> &'a str {
        match self.parts {
            Parts::Own { uri, .. } => uri.path(),
            Parts::View(view) => view.path(),
        }
    }

    /// Returns the pattern of the route; not for all, since some frameworks make it only where a key
    /// wants it.
    pub(crate) fn route(&self) -> Option<&'a str> {
        match self.parts {
            Parts::Own { extensions, .. } => (self.route_of)(extensions),
            Parts::View(view) => view.route(),
        }
    }

    /// Returns the header fields.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        match self.parts {
            Parts::Own { headers, .. } => headers,
            Parts::View(view) => view.headers(),
        }
    }

    /// Returns the first value of a header field, if it is there and is visible ASCII.
    #[must_use]
    pub fn header(&self, name: impl AsRef<str>) -> Option<&'a str> {
        self.headers().get(name.as_ref())?.to_str().ok()
    }

    pub(crate) fn content_type(&self) -> Option<&'a [u8]> {
        match self.parts {
            Parts::Own { headers, .. } => headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes),
            Parts::View(view) => view.content_type(),
        }
    }

    /// Returns what layers before this one put beside the request.
    #[must_use]
    pub fn extensions(&self) -> &'a Extensions {
        match self.parts {
            Parts::Own { extensions, .. } => extensions,
            Parts::View(view) => view.extensions(),
        }
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
