//! The head of a request, with what axum stores in its extensions.

use std::net::IpAddr;

use http::{Extensions, Request};
use throttle_http::RequestHead;

/// Returns the head of a request, with the address and the route that axum stores with it.
pub(crate) fn head_of<B>(request: &Request<B>) -> RequestHead<'_> {
    RequestHead::new(request, peer_of(request)).with_route(route_of)
}

#[cfg(feature = "axum")]
fn peer_of<B>(request: &Request<B>) -> Option<IpAddr> {
    use std::net::SocketAddr;

    use axum::extract::{ConnectInfo, connect_info::MockConnectInfo};

    let extensions = request.extensions();
    let info = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    info.or_else(|| extensions.get::<MockConnectInfo<SocketAddr>>().map(|info| info.0.ip()))
}

#[cfg(feature = "axum")]
fn route_of(extensions: &Extensions) -> Option<&str> {
    extensions.get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
fn route_of(_: &Extensions) -> Option<&str> {
    None
}

#[cfg(not(feature = "axum"))]
fn peer_of<B>(_: &Request<B>) -> Option<IpAddr> {
    None // `RequestHead` also looks for it in the request's extensions
}
