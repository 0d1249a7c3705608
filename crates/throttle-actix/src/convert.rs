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
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Uri};
use throttle_core::Decisions;
use throttle_http::{
    ActualCost, Departure, Exit, ForeignHead, InFlight, Leaving, Marks, Passage, Protocol, Refusal,
    ResponseHead, look_at_nested,
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
    write(&parts.headers, response.headers_mut());
    if let Some(decisions) = parts.extensions.remove::<Decisions>() {
        response.extensions_mut().insert(decisions);
    }
    response.map_into_boxed_body()
}

/// Writes what a response to a request that passed is marked with: header fields, and the decisions into
/// its extensions where that was asked for.
pub(crate) fn mark<B>(marks: Marks, response: &mut HttpResponse<B>) {
    let mut fields = http::Response::new(());
    // Those that a throttle within has written stay.
    let has_legacy = response.headers().contains_key(X_LIMIT);
    if has_legacy {
        fields.headers_mut().insert(X_LIMIT, HeaderValue::from_static(""));
    }
    marks.write(&mut fields);
    if has_legacy {
        fields.headers_mut().remove(X_LIMIT);
    }
    write(fields.headers(), response.headers_mut());
    if let Some(decisions) = fields.extensions_mut().remove::<Decisions>() {
        response.extensions_mut().insert(decisions);
    }
}

const X_LIMIT: &str = "x-ratelimit-limit";
static RATE_LIMIT: actix::HeaderName = actix::HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: actix::HeaderName = actix::HeaderName::from_static("ratelimit-policy");

/// Writes fields; lists go on one line with what is there, everything else takes its place.
fn write(fields: &HeaderMap, to: &mut actix::HeaderMap) {
    for name in fields.keys() {
        let (known, is_list) = match name.as_str() {
            "ratelimit" => (Ok(RATE_LIMIT.clone()), true),
            "ratelimit-policy" => (Ok(RATE_LIMIT_POLICY.clone()), true),
            other => (actix::HeaderName::from_bytes(other.as_bytes()), false),
        };
        let Ok(name_there) = known else { continue };
        if !is_list {
            to.remove(&name_there);
        } else if let Some(line) = on_one_line(to.get_all(&name_there), fields.get_all(name)) {
            to.insert(name_there, line);
            continue;
        }
        for value in fields.get_all(name) {
            if let Ok(value) = actix::HeaderValue::from_bytes(value.as_bytes()) {
                to.append(name_there.clone(), value);
            }
        }
    }
}

/// Joins the lines of a list, if there are some already.
fn on_one_line<'a>(
    mut there: impl Iterator<Item = &'a actix::HeaderValue>,
    added: http::header::GetAll<'a, HeaderValue>,
) -> Option<actix::HeaderValue> {
    let mut line = there.next()?.as_bytes().to_vec();
    let added = added.iter().map(HeaderValue::as_bytes);
    for more in there.map(actix::HeaderValue::as_bytes).chain(added) {
        line.extend_from_slice(b", ");
        line.extend_from_slice(more);
    }
    actix::HeaderValue::from_bytes(&line).ok()
}
