//! Conversions between the types of `http` 1 and those of Actix Web, which uses `http` 0.2.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
};

use actix_web::{
    HttpMessage, HttpResponse,
    body::MessageBody,
    dev::{Extensions as ActixExtensions, RequestHead as ActixHead, ServiceRequest},
    http::{StatusCode, header as actix},
};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use throttle_core::{Decisions, Reply};
use throttle_http::{
    Attached, BodyGuard, Done, ExtensionSink, HeaderSink, RateLimitHeader, RequestView,
    ResponseHead, ResponseView, join_list,
};

use crate::body;

/// A function that copies a value from the extensions of Actix Web to those that the options see.
pub(crate) type Carry = fn(&ActixExtensions, &mut Extensions);

pub(crate) fn carry<T: Clone + Send + Sync + 'static>(from: &ActixExtensions, to: &mut Extensions) {
    if let Some(value) = from.get::<T>() {
        to.insert(value.clone());
    }
}

/// A request of Actix Web in the types of `http` 1. URI and header fields are converted when they are first read.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    head: &'a ActixHead,
    /// The path that the router matches; some of its escapes are decoded.
    path: &'a str,
    method: Method,
    uri: OnceLock<Uri>,
    headers: OnceLock<HeaderMap>,
    route: Option<String>,
    extensions: Extensions,
}

impl<'a> Head<'a> {
    pub(crate) fn new(request: &'a ServiceRequest, carried: &[Carry], wants_route: bool) -> Self {
        let mut extensions = Extensions::new();
        if !carried.is_empty() {
            let from = request.extensions();
            carried.iter().for_each(|carry| carry(&from, &mut extensions));
        }
        // Both versions accept the same methods, so this cannot fail.
        let method = Method::from_bytes(request.method().as_str().as_bytes()).unwrap_or_default();
        let (uri, headers) = (OnceLock::new(), OnceLock::new());
        let (head, path) = (request.head(), request.match_info().as_str());
        let route = if wants_route { route_of(request) } else { None };
        Self { head, path, method, uri, headers, route, extensions }
    }
}

impl RequestView for Head<'_> {
    fn method(&self) -> &Method {
        &self.method
    }

    fn uri(&self) -> &Uri {
        // Both versions parse the same syntax, so this cannot fail.
        self.uri.get_or_init(|| Uri::try_from(self.head.uri.to_string()).unwrap_or_default())
    }

    fn version(&self) -> Version {
        match self.head.version {
            actix_web::http::Version::HTTP_09 => Version::HTTP_09,
            actix_web::http::Version::HTTP_10 => Version::HTTP_10,
            actix_web::http::Version::HTTP_2 => Version::HTTP_2,
            actix_web::http::Version::HTTP_3 => Version::HTTP_3,
            _ => Version::HTTP_11,
        }
    }

    fn path(&self) -> &str {
        self.path
    }

    fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| fields_of(&self.head.headers))
    }

    fn content_type(&self) -> Option<&[u8]> {
        self.head.headers.get(actix::CONTENT_TYPE).map(actix::HeaderValue::as_bytes)
    }

    fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    fn route(&self) -> Option<&str> {
        self.route.as_deref()
    }
}

/// Returns the pattern that the router matches for the path.
///
/// `match_pattern` returns the pattern of a matched resource. Before a resource is matched, it searches with
/// the path as it was sent, and a client could spell the path so that another pattern matches.
fn route_of(request: &ServiceRequest) -> Option<String> {
    let (pattern, matched) = (request.match_pattern(), request.match_info());
    // A matched resource has a value for each parameter of its pattern. A pattern without parameters is
    // trusted only if the path has no escapes that are decoded.
    let is_matched = |pattern: &String| {
        let names = parameters(pattern);
        names.len() == matched.segment_count()
            && names.iter().all(|name| matched.get(name).is_some())
    };
    if request.path() == matched.as_str() || pattern.as_ref().is_some_and(is_matched) {
        return pattern;
    }
    request.resource_map().match_pattern(matched.as_str())
}

/// Returns the names of the parameters of a pattern: `id` and `rest` for `/{id}/{rest:[a-z]{2}}`.
fn parameters(pattern: &str) -> Vec<&str> {
    let (mut names, mut depth) = (Vec::new(), 0_usize);
    for (at, byte) in pattern.bytes().enumerate() {
        match byte {
            b'{' if depth == 0 => {
                names.extend(pattern[at + 1..].split([':', '}']).next());
                depth = 1;
            }
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    names
}

fn fields_of(from: &actix::HeaderMap) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(from.len());
    for (name, value) in from {
        let name = HeaderName::from_bytes(name.as_str().as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    map
}

/// The extensions of a request as a sink for [`Pass::attach`](throttle_http::Pass::attach).
pub(crate) struct AttachTo<'a>(pub(crate) &'a mut ActixExtensions);

impl ExtensionSink for AttachTo<'_> {
    #[inline]
    fn insert<T: Clone + Send + Sync + 'static>(&mut self, value: T) -> Option<T> {
        self.0.insert(value)
    }

    #[inline]
    fn get<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.0.get()
    }
}

/// The header fields of a response; they are converted when they are first read.
#[derive(Debug)]
struct Response<'a> {
    headers: &'a actix::HeaderMap,
    converted: OnceLock<HeaderMap>,
}

impl ResponseView for Response<'_> {
    fn headers(&self) -> &HeaderMap {
        self.converted.get_or_init(|| fields_of(self.headers))
    }
}

/// Finishes a request with the head of its response.
#[inline]
pub(crate) fn finish<B>(attached: Attached, response: &HttpResponse<B>) -> Reply<Done, Infallible> {
    let view = Response { headers: response.headers(), converted: OnceLock::new() };
    attached.finish(&ResponseHead::from_view(status_of(response), &view))
}

fn status_of<B>(response: &HttpResponse<B>) -> http::StatusCode {
    http::StatusCode::from_u16(response.status().as_u16()).unwrap_or_default()
}

/// Returns the address of the connection, or the address that a custom server inserted into the extensions.
/// Header fields are never used.
pub(crate) fn peer_of(request: &ServiceRequest) -> Option<IpAddr> {
    let peer = request.peer_addr().map(|peer| peer.ip());
    peer.or_else(|| {
        let extensions = request.extensions();
        let socket = extensions.get::<SocketAddr>().map(SocketAddr::ip);
        socket.or_else(|| extensions.get::<IpAddr>().copied())
    })
}

/// Converts the response to a rejected request.
pub(crate) fn to_actix(response: http::Response<Bytes>) -> HttpResponse {
    let (mut parts, body) = response.into_parts();
    let status = StatusCode::from_u16(parts.status.as_u16());
    let mut response = HttpResponse::with_body(
        status.unwrap_or_default(),
        body::of_rejection(body, &parts.headers),
    );
    let fields = response.headers_mut();
    for (name, value) in &parts.headers {
        if let (Ok(name), Ok(value)) = (name_of(name), value_of(value)) {
            fields.append(name, value);
        }
    }
    if let Some(decisions) = parts.extensions.remove::<Decisions>() {
        response.extensions_mut().insert(decisions);
    }
    response
}

/// Converts a response of the user's function.
pub(crate) fn from_actix(response: HttpResponse) -> http::Response<Bytes> {
    let (response, body) = response.into_parts();
    let body = body.try_into_bytes().unwrap_or_else(|_| {
        tracing::error!(
            target: "ratethrottle::rejection",
            "the body of a rejection is not available at once, so it is sent without a body: return a complete body \
             from `on_rejection`, not a stream"
        );
        Bytes::new()
    });
    let mut converted = http::Response::new(body);
    *converted.status_mut() = status_of(&response);
    *converted.headers_mut() = fields_of(response.headers());
    converted
}

/// Writes the header fields of a response, and returns the guard to keep until its body has ended.
#[inline]
pub(crate) fn write<B>(done: Done, response: &mut HttpResponse<B>) -> Option<BodyGuard> {
    let status = status_of(response);
    let (decisions, guard) = done.write_to(status, &mut Fields(response.headers_mut()));
    if let Some(decisions) = decisions {
        response.extensions_mut().insert(decisions);
    }
    guard
}

/// The header fields of a response as a sink for values of `http` 1.
struct Fields<'a>(&'a mut actix::HeaderMap);

impl HeaderSink for Fields<'_> {
    fn has(&self, name: &HeaderName) -> bool {
        self.0.contains_key(name.as_str())
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        if let (Ok(name), Ok(value)) = (name_of(&name), value_of(&value)) {
            self.0.insert(name, value);
        }
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        if let (Ok(name), Ok(value)) = (name_of(&name), value_of(&value)) {
            self.0.append(name, value);
        }
    }

    fn extend_list(&mut self, list: RateLimitHeader, value: Bytes) {
        let Ok(added) = actix::HeaderValue::from_maybe_shared(value) else { return };
        let before: Vec<_> = self.0.insert(name_of_list(list), added).collect();
        if before.is_empty() {
            return;
        }
        let name = name_of_list(list);
        let Some(added) = self.0.get(&name) else { return };
        let lines = before.iter().map(actix::HeaderValue::as_bytes);
        if let Ok(line) = actix::HeaderValue::from_bytes(&join_list(list, lines, added.as_bytes()))
        {
            self.0.insert(name, line);
        }
    }
}

fn name_of_list(list: RateLimitHeader) -> actix::HeaderName {
    match list {
        RateLimitHeader::RateLimit => const { actix::HeaderName::from_static("ratelimit") },
        RateLimitHeader::RateLimitPolicy => {
            const { actix::HeaderName::from_static("ratelimit-policy") }
        }
    }
}

/// Converts a name; the names in every rejection are constants.
fn name_of(name: &HeaderName) -> Result<actix::HeaderName, actix::InvalidHeaderName> {
    match name.as_str() {
        "ratelimit" => Ok(name_of_list(RateLimitHeader::RateLimit)),
        "ratelimit-policy" => Ok(name_of_list(RateLimitHeader::RateLimitPolicy)),
        "retry-after" => Ok(actix::RETRY_AFTER),
        "content-type" => Ok(actix::CONTENT_TYPE),
        "cache-control" => Ok(actix::CACHE_CONTROL),
        other => actix::HeaderName::from_bytes(other.as_bytes()),
    }
}

fn value_of(value: &HeaderValue) -> Result<actix::HeaderValue, actix::InvalidHeaderValue> {
    actix::HeaderValue::from_bytes(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_pattern_are_found_with_any_expression() {
        assert_eq!(parameters("/users/me"), [""; 0]);
        assert_eq!(parameters("/{id}/{rest:[a-z]{2}}x{tail}*"), ["id", "rest", "tail"]);
    }
}
