//! Between the types of `http` 1 and those of Actix Web, which are of `http` 0.2.

use std::{
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
};

use actix_web::{
    HttpMessage, HttpResponse,
    dev::{Extensions as ActixExtensions, RequestHead as ActixHead, ServiceRequest},
    http::{StatusCode, header as actix},
};
use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use throttle_core::Decisions;
use throttle_http::{
    ActualCost, Departure, Exit, FieldMap, ForeignHead, InFlight, Leaving, ListField, Marks,
    Passage, Protocol, Refusal, ResponseHead, look_at_nested, on_one_line,
};

/// Copies a value from beside the request to where the functions among the options see it.
pub(crate) type Carry = fn(&ActixExtensions, &mut Extensions);

pub(crate) fn carry<T: Clone + Send + Sync + 'static>(from: &ActixExtensions, to: &mut Extensions) {
    if let Some(value) = from.get::<T>() {
        to.insert(value.clone());
    }
}

/// Shows a request of Actix in the types of `http` 1; target and header fields are converted when they
/// are first asked for.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    head: &'a ActixHead,
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
        // Both versions know the same methods, so that there is no error.
        let method = Method::from_bytes(request.method().as_str().as_bytes()).unwrap_or_default();
        let (uri, headers) = (OnceLock::new(), OnceLock::new());
        let route = if wants_route { request.match_pattern() } else { None };
        Self { head: request.head(), method, uri, headers, route, extensions }
    }
}

impl ForeignHead for Head<'_> {
    fn method(&self) -> &Method {
        &self.method
    }

    fn uri(&self) -> &Uri {
        // What the one has parsed the other can parse.
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
        self.head.uri.path()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers.get_or_init(|| fields_of(&self.head.headers))
    }

    fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    fn route(&self) -> Option<&str> {
        self.route.as_deref()
    }
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

/// Puts into a request what a handler finds there.
pub(crate) fn pass(passage: Passage, extensions: &mut ActixExtensions) -> Box<Exit> {
    let Passage { decisions, in_flight, actual_cost, exit } = passage;
    if let Some(decisions) = decisions {
        leave_decisions(extensions, decisions);
    }
    if let Some(in_flight) = in_flight {
        let in_flight = in_flight.beside(extensions.get::<InFlight>());
        extensions.insert(in_flight);
    }
    if let Some(cost) = actual_cost {
        let cost = cost.beside(extensions.get::<ActualCost>());
        extensions.insert(cost);
    }
    exit
}

/// Shows a response to those who say what its request is charged.
pub(crate) fn leave<B>(exit: Box<Exit>, response: &HttpResponse<B>) -> Result<Departure, Leaving> {
    let status = http::StatusCode::from_u16(response.status().as_u16()).unwrap_or_default();
    exit.leave(&ResponseHead::new(status, &fields_of(response.headers())))
}

/// Returns the address of the connection, or what a server of one's own put beside the request: never
/// what a header field says.
pub(crate) fn peer_of(request: &ServiceRequest) -> Option<IpAddr> {
    let peer = request.peer_addr().map(|peer| peer.ip());
    peer.or_else(|| {
        let extensions = request.extensions();
        let socket = extensions.get::<SocketAddr>().map(SocketAddr::ip);
        socket.or_else(|| extensions.get::<IpAddr>().copied())
    })
}

/// Returns in which form the client reads a refusal.
pub(crate) fn protocol_of(request: &ServiceRequest) -> Protocol {
    if request.method() != actix_web::http::Method::POST {
        return Protocol::Http;
    }
    let content_type = request.headers().get(actix::CONTENT_TYPE);
    content_type.map_or(Protocol::Http, |value| Protocol::of_post(value.as_bytes()))
}

/// Leaves the decisions for the handler.
pub(crate) fn leave_decisions(extensions: &mut ActixExtensions, decisions: Decisions) {
    if let (Some(outer), Some(inner)) = (extensions.insert(decisions), extensions.get()) {
        look_at_nested(&outer, inner);
    }
}

/// Makes a response of a refusal.
pub(crate) fn refuse(refusal: Refusal) -> HttpResponse {
    let (mut parts, body) = refusal.into_parts();
    let status = StatusCode::from_u16(parts.status.as_u16());
    let mut response = HttpResponse::with_body(status.unwrap_or_default(), body);
    let fields = response.headers_mut();
    for (name, value) in &parts.headers {
        if let (Ok(name), Ok(value)) = (name_of(name), value_of(value)) {
            fields.append(name, value);
        }
    }
    if let Some(decisions) = parts.extensions.remove::<Decisions>() {
        response.extensions_mut().insert(decisions);
    }
    response.map_into_boxed_body()
}

/// Writes what a response to a request that passed is marked with: header fields, and the decisions into
/// its extensions where that was asked for.
pub(crate) fn mark<B>(marks: Marks, response: &mut HttpResponse<B>) {
    let status = http::StatusCode::from_u16(response.status().as_u16()).unwrap_or_default();
    if let Some(decisions) = marks.write_fields(status, &mut Fields(response.headers_mut())) {
        response.extensions_mut().insert(decisions);
    }
}

/// Takes fields in the types of `http` 1.
struct Fields<'a>(&'a mut actix::HeaderMap);

impl FieldMap for Fields<'_> {
    fn has(&self, name: &HeaderName) -> bool {
        self.0.contains_key(name.as_str())
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        if let (Ok(name), Ok(value)) = (name_of(&name), value_of(&value)) {
            self.0.insert(name, value);
        }
    }

    fn extend_list(&mut self, list: ListField, value: Bytes) {
        let Ok(added) = actix::HeaderValue::from_maybe_shared(value) else { return };
        let mut before = self.0.insert(name_of_list(list), added);
        let Some(first) = before.next() else { return };
        let name = name_of_list(list);
        let before: Vec<_> = [first].into_iter().chain(before).collect();
        let lines = before.iter().chain(self.0.get(&name)).map(actix::HeaderValue::as_bytes);
        if let Ok(line) = actix::HeaderValue::from_bytes(&on_one_line(lines)) {
            self.0.insert(name, line);
        }
    }
}

fn name_of_list(list: ListField) -> actix::HeaderName {
    match list {
        ListField::RateLimit => const { actix::HeaderName::from_static("ratelimit") },
        ListField::RateLimitPolicy => const { actix::HeaderName::from_static("ratelimit-policy") },
    }
}

/// Converts a name; those of every refusal are at hand.
fn name_of(name: &HeaderName) -> Result<actix::HeaderName, actix::InvalidHeaderName> {
    match name.as_str() {
        "ratelimit" => Ok(name_of_list(ListField::RateLimit)),
        "ratelimit-policy" => Ok(name_of_list(ListField::RateLimitPolicy)),
        "retry-after" => Ok(actix::RETRY_AFTER),
        "content-type" => Ok(actix::CONTENT_TYPE),
        other => actix::HeaderName::from_bytes(other.as_bytes()),
    }
}

fn value_of(value: &HeaderValue) -> Result<actix::HeaderValue, actix::InvalidHeaderValue> {
    actix::HeaderValue::from_bytes(value.as_bytes())
}
