//! The head of a request.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, SocketAddr},
};

use http::{Extensions, HeaderMap, HeaderValue, Method, Uri, Version, header::CONTENT_TYPE};
use percent_encoding::percent_decode_str;

/// The head of a request: method, URI, header fields and extensions. Functions that compute keys, costs and
/// exemptions read it.
#[derive(Copy, Clone)]
pub struct RequestHead<'a> {
    parts: Parts<'a>,
    peer: Option<IpAddr>,
    route_of: RouteOf,
    is_call: bool,
}

/// A function that reads the pattern of the route from the extensions.
type RouteOf = fn(&Extensions) -> Option<&str>;

#[derive(Copy, Clone)]
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

/// A request of a framework that does not use the types of `http`.
///
/// Convert expensive parts only when they are first read: most keys use the peer address alone.
pub trait RequestView: fmt::Debug + Sync {
    /// Returns the method.
    fn method(&self) -> &Method;
    /// Returns the URI of the request.
    fn uri(&self) -> &Uri;
    /// Returns the HTTP version.
    fn version(&self) -> Version;
    /// Returns the path that the router of the framework matches. Default: the path of the URI, as it was sent.
    ///
    /// Override this if the router decodes paths before it matches them, as Actix Web does. If limits and
    /// exemptions read another path than the router, a client can bypass its limit by escaping a character of
    /// the path.
    fn path(&self) -> &str {
        self.uri().path()
    }
    /// Returns the header fields.
    fn headers(&self) -> &HeaderMap;
    /// Returns the value of `content-type`.
    fn content_type(&self) -> Option<&[u8]> {
        self.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes)
    }
    /// Returns the extensions of the request.
    fn extensions(&self) -> &Extensions;
    /// Returns the pattern of the route, such as `/users/{id}`, if it is known.
    fn route(&self) -> Option<&str> {
        None
    }
}

/// Leaves out the target and the header fields, which can contain secrets.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", self.method())
            .field("version", &self.version())
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}

impl<'a> RequestHead<'a> {
    /// Creates the head of a request. `peer` is the address of the connection, if the framework knows it.
    ///
    /// Without `peer`, a [`SocketAddr`] or [`IpAddr`] in the extensions is used, if there is one.
    pub fn new<B>(request: &'a http::Request<B>, peer: Option<IpAddr>) -> Self {
        let (method, uri) = (request.method(), request.uri());
        let (headers, extensions) = (request.headers(), request.extensions());
        Self::from_parts(method, uri, request.version(), headers, extensions, peer)
    }

    /// Creates the head of a request from its parts, for frameworks with a request type that consists of the
    /// types of `http`.
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

    /// Sets the function that reads the pattern of the route from the extensions. It is called only if the
    /// pattern is needed. With a [`RequestView`], implement [`route`](RequestView::route) instead.
    #[must_use]
    pub fn with_route(mut self, route_of: fn(&Extensions) -> Option<&str>) -> Self {
        self.route_of = route_of;
        self
    }

    /// Sets the address of the connection.
    #[must_use]
    pub fn with_peer(mut self, peer: Option<IpAddr>) -> Self {
        self.peer = peer;
        self
    }

    /// Creates the head of a request of a framework that does not use the types of `http`.
    pub fn from_view(view: &'a dyn RequestView, peer: Option<IpAddr>) -> Self {
        let peer = peer.or_else(|| peer_of(view.extensions()));
        Self { parts: Parts::View(view), peer, route_of: |_| None, is_call: false }
    }

    /// Marks the head as an outbound call: its client may still add header fields, so a missing
    /// `Content-Length` does not show that there is no body.
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

    /// Returns the URI.
    #[must_use]
    pub fn uri(&self) -> &'a Uri {
        match self.parts {
            Parts::Own { uri, .. } => uri,
            Parts::View(view) => view.uri(),
        }
    }

    /// Returns the HTTP version.
    #[must_use]
    pub fn version(&self) -> Version {
        match self.parts {
            Parts::Own { version, .. } => version,
            Parts::View(view) => view.version(),
        }
    }

    /// Returns the path that the router matches. Use it to exempt requests.
    ///
    /// In axum and other Tower services it is the path as it was sent. Actix Web decodes a path before it
    /// matches it, so all escapes are decoded there, except those of `%`, `/` and `+`. [`uri`](Self::uri) has
    /// the path as it was sent.
    ///
    /// # Which path to compare
    ///
    /// Route parameters are decoded: in axum, `/files/%65xport` reaches the handler of `/files/{name}` as
    /// `export`. Therefore:
    ///
    /// - To limit, charge more or select a rule, compare [`decoded_path`](Self::decoded_path).
    /// - To exempt, charge less or charge nothing, compare `path`, either the whole path or a prefix that ends
    ///   with `/`.
    /// - To exempt everything *except* some paths, as in `!head.decoded_path().starts_with("/api/")`, compare
    ///   `decoded_path`, because this limits those paths.
    ///
    /// A request with an unusual spelling is then limited rather than exempt. Neither routers nor these two
    /// methods normalize `//`, `.`, `..` or `;`. If a middleware normalizes them, such as
    /// `NormalizePath`, it must run before this one.
    #[must_use]
    pub fn path(&self) -> &'a str {
        match self.parts {
            Parts::Own { uri, .. } => uri.path(),
            Parts::View(view) => view.path(),
        }
    }

    /// Returns the [`path`](Self::path) with all escapes decoded, as handlers see their parameters. Use it to
    /// limit requests.
    ///
    /// The path is decoded once: `/%2561` becomes `/%61`. An escaped slash becomes a slash, so `/a%2Fb` equals
    /// `/a/b`. Bytes that are not UTF-8 become U+FFFD; axum rejects them in parameters. A path without escapes
    /// is borrowed.
    ///
    /// See [`path`](Self::path) for which of the two to compare.
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

    /// Returns the pattern of the route. It is not public, because some frameworks compute it only if a key needs it.
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

    /// Returns the first value of a header field, if it exists and is visible ASCII.
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

    /// Returns the extensions of the request, where other layers leave values.
    #[must_use]
    pub fn extensions(&self) -> &'a Extensions {
        match self.parts {
            Parts::Own { extensions, .. } => extensions,
            Parts::View(view) => view.extensions(),
        }
    }

    /// Returns the address of the connection, if it is known.
    #[must_use]
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }
}

/// Returns the address that a custom server has inserted into the extensions.
fn peer_of(extensions: &Extensions) -> Option<IpAddr> {
    let socket = extensions.get::<SocketAddr>().map(SocketAddr::ip);
    socket.or_else(|| extensions.get::<IpAddr>().copied())
}
