//! What is asked for as a key, or as a part of one.

use throttle_core::Key;

use super::{ExtractKey, NoKey};
use crate::RequestHead;

/// No path can hold this byte.
const NO_ROUTE: &[u8] = b"\0no route";

/// Limits by the path of the target, without its query.
///
/// Alone it is one limit for all clients of a path; in a tuple with [`ClientIp`](super::ClientIp) each
/// client has a limit for each path. A client can make up paths: where they have parameters,
/// [`RoutePattern`] has fewer keys.
#[derive(Copy, Clone, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to say about it")]
pub struct RequestPath;

/// Limits by the method, to be used in a tuple: what is read and what is written are counted apart.
#[derive(Copy, Clone, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to say about it")]
pub struct RequestMethod;

/// Limits by the pattern of the route, such as `/users/{id}`: axum's `MatchedPath`, `match_pattern` of
/// Actix Web. Requests that no route is there for share one key.
///
/// In axum, a layer knows the route where it is laid around routes (`Router::layer`,
/// `MethodRouter::layer`), not where it is laid around a whole router as a service.
#[derive(Copy, Clone, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to say about it")]
pub struct RoutePattern;

impl ExtractKey for RequestPath {
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        Ok(Key::from(head.path().as_bytes()))
    }
}

impl ExtractKey for RequestMethod {
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        Ok(Key::from(head.method().as_str().as_bytes()))
    }
}

impl ExtractKey for RoutePattern {
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        Ok(Key::from(head.route().map_or(NO_ROUTE, str::as_bytes)))
    }

    fn wants_route(&self) -> bool {
        true
    }
}
