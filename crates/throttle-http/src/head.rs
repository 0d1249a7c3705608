//! What is known of a request before its body.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, SocketAddr},
};

use http::{Extensions, HeaderMap, HeaderValue, Method, Uri, Version, header::CONTENT_TYPE};
use percent_encoding::percent_decode_str;

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
    /// Returns the path as the router of the framework matches it; default: that of the target, as it was sent.
    ///
    /// A router that decodes paths before it matches them, as that of Actix Web does, has another than the target.
    /// If limits and exemptions see the one and routes the other, a client escapes its limit by an escape in the path.
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

    /// Returns the path as the router matches it: use it to exempt requests.
    ///
    /// In axum and other Tower services it is the path as it was sent. In Actix Web, whose router decodes before it
    /// matches, escapes are decoded, except those of `%`, `/` and `+`; [`uri`](Self::uri) has the path as it was
    /// sent.
    ///
    /// # Which of the two paths to compare
    ///
    /// Routes with parameters decode them: in axum `/files/%65xport` reaches the handler of `/files/{name}` as
    /// `export`. So
    ///
    /// - to limit, charge more or select a rule, compare [`decoded_path`](Self::decoded_path);
    /// - to exempt, charge less or nothing, compare `path`, and compare all of it or a beginning that ends with `/`;
    /// - to exempt all *but* some paths, as in `!head.decoded_path().starts_with("/api/")`, is to limit those:
    ///   compare `decoded_path`.
    ///
    /// If a request is spelled oddly, it is then limited rather than exempt. No router repairs `//`, `.`, `..` or `;`, and
    /// neither of the paths does. If a middleware does, such as `NormalizePath`, let it run before this one.
    #[must_use]
    pub fn path(&self) -> &'a str {
        match self.parts {
            Parts::Own { uri, .. } => uri.path(),
            Parts::View(view) => view.path(),
        }
    }

    /// Returns the [`path`](Self::path) with every escape decoded, as handlers see their parameters: use it to limit
    /// requests.
    ///
    /// It is decoded once: `/%2561` is `/%61`. An escaped slash is a slash, so that `/a%2Fb` and `/a/b` are one here. Bytes
    /// that are not UTF-8 are replaced by U+FFFD; axum rejects them in parameters. A path without escapes is borrowed.
    ///
    /// [`path`](Self::path) says which of the two to compare.
    ///
    /// # Examples
    ///
    /// ```
    /// use http::Request;
    /// use throttle_http::RequestHead;
    ///
    /// let request = Request::get("/files/%65xport").body(())?;
    /// let head = RequestHead::new(&request, None);
    /// assert_eq!(head.path(), "/files/%65xport");
    /// assert_eq!(head.decoded_path(), "/files/export");
    /// # Ok::<(), http::Error>(())
    /// ```
    #[must_use]
    pub fn decoded_path(&self) -> Cow<'a, str> {
        percent_decode_str(self.path()).decode_utf8_lossy()
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
