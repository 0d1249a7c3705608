//! Parts of the target of a request as keys.

use std::borrow::Cow;

use http::uri::Authority;
use throttle_core::Key;

use super::{extract::ExtractKey, into_key::NoKey};
use crate::head::RequestHead;

/// The key of requests without a route; no path can contain a NUL.
const NO_ROUTE: &[u8] = b"\0no route";

/// The decoded path, without the query, as a key.
///
/// The key is [`RequestHead::decoded_path`], so escaping a character does not give a client another key. Paths
/// that differ only in an escaped and a plain slash share a key.
///
/// If used alone, all clients of a path share one limit. In a tuple with [`ClientIp`](super::ClientIp), each client has
/// a limit for each path. Clients can invent paths; for routes with parameters, [`RoutePattern`] has fewer keys.
#[derive(Copy, Clone, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "it has no options")]
pub struct RequestPath;

/// The method as a key; use it in a tuple, for example to count reads and writes separately.
#[derive(Copy, Clone, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "it has no options")]
pub struct RequestMethod;

/// The pattern of the route as a key, such as `/users/{id}`: `MatchedPath` of axum, `match_pattern` of Actix
/// Web. Requests without a route share one key.
///
/// In axum, a layer knows the route if it is added to routes (`Router::layer`, `MethodRouter::layer`), but not
/// if it wraps the whole router as a service.
///
/// In Actix Web, a throttle around a resource knows its pattern. A throttle around an app or a scope runs
/// before routing and uses the first pattern that matches the path. Guards, such as those for methods, are not
/// evaluated. If resources with guards overlap, such as `/users/me` for `GET` and `/users/{id}` for `POST`,
/// then `POST /users/me` counts as `/users/me`.
#[derive(Copy, Clone, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "it has no options")]
pub struct RoutePattern;

/// One key for all requests of all clients.
#[derive(Copy, Clone, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "it has no options")]
pub struct Global;

/// The host and port of the target as a key; the default for outbound calls.
///
/// They are read from the URI, or from the `Host` field if the URI has no host. The key is lowercase, without
/// the trailing dot of a fully qualified name, and without the default port of the scheme. If there is no
/// scheme, as in requests to a server, both 80 and 443 are removed.
///
/// On a server, the client chooses this value, and a client that invents hosts has a limit for each.
#[derive(Copy, Clone, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "it has no options")]
pub struct RequestHost;

impl ExtractKey for Global {
    fn extract<'a>(&'a self, _: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        Ok(Key::from("global").opaque())
    }
}

impl ExtractKey for RequestHost {
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        let of_field = || head.header("host");
        let host = head.uri().authority().map(Authority::as_str).or_else(of_field);
        // The part before the `@` is credentials.
        let host = host.and_then(|host| host.rsplit('@').next()).unwrap_or_default();
        let default_ports: &[&str] = match head.uri().scheme_str() {
            Some("https" | "wss") => &[":443", ":"],
            Some(_) => &[":80", ":"],
            None => &[":80", ":443", ":"],
        };
        let host = default_ports.iter().find_map(|port| host.strip_suffix(port)).unwrap_or(host);
        let host = host.strip_suffix('.').unwrap_or(host);
        match host {
            "" => Err(NoKey::NoHost),
            host => Ok(Key::from(host.to_ascii_lowercase()).opaque()),
        }
    }
}

impl ExtractKey for RequestPath {
    fn extract<'a>(&'a self, head: &RequestHead<'a>) -> Result<Key<'a>, NoKey> {
        Ok(match head.decoded_path() {
            Cow::Borrowed(path) => Key::from(path.as_bytes()),
            Cow::Owned(path) => Key::from(path.into_bytes()),
        })
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

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn host(target: &str, field: Option<&str>) -> Result<Key<'static>, NoKey> {
        let mut request = Request::get(target);
        if let Some(field) = field {
            request = request.header("host", field);
        }
        let request = request.body(()).unwrap();
        RequestHost.extract(&RequestHead::new(&request, None)).map(Key::into_owned)
    }

    #[test]
    fn all_requests_share_one_key() {
        let (one, two) =
            (Request::get("/a").body(()).unwrap(), Request::post("/b").body(()).unwrap());
        let peer = Some([192, 0, 2, 1].into());
        let key = Global.extract(&RequestHead::new(&one, peer)).unwrap();
        assert_eq!(key, Global.extract(&RequestHead::new(&two, None)).unwrap());
        assert_eq!(key.as_bytes(), b"global");
    }

    #[test]
    fn all_spellings_of_a_host_are_one_key() {
        let same = [
            ("https://api.example.com/a", None),
            ("https://API.Example.com:443/b?c", None),
            ("https://user:word@api.example.com/", None),
            ("http://api.example.com:80", None),
            ("/path", Some("api.example.com")),
            ("/path", Some("Api.example.com:80")),
            ("/path", Some("api.example.com:443")),
            ("/path", Some("api.example.com:")),
            ("/path", Some("api.example.com.")),
            ("https://api.example.com.:443/", None),
            ("wss://api.example.com:443/", None),
            ("ws://api.example.com:80/", None),
            ("https://api.example.com/", Some("another.example.com")),
        ];
        for (target, field) in same {
            let key = host(target, field).unwrap();
            assert_eq!(key.as_bytes(), b"api.example.com", "{target} {field:?}");
        }
    }

    #[test]
    fn another_port_or_name_is_another_key() {
        for target in
            ["https://api.example.com:80/", "http://api.example.com:443/", "http://[::1]/"]
        {
            assert_ne!(host(target, None).unwrap().as_bytes(), b"api.example.com", "{target}");
        }
        assert_eq!(host("http://[::1]:8080/", None).unwrap().as_bytes(), b"[::1]:8080");
    }

    #[test]
    fn a_host_that_looks_like_an_address_is_no_address_for_the_lists() {
        assert_eq!(host("http://192.0.2.1/", None).unwrap().address(), None);
    }

    #[test]
    fn a_target_without_a_host_has_no_key() {
        assert_eq!(host("/path", None), Err(NoKey::NoHost));
        assert_eq!(host("/path", Some("")), Err(NoKey::NoHost));
    }
}
