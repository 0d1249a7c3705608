//! What is asked for as a key, or as a part of one.

use std::borrow::Cow;

use http::uri::Authority;
use throttle_core::Key;

use super::{extract::ExtractKey, into_key::NoKey};
use crate::head::RequestHead;

/// No path can hold this byte.
const NO_ROUTE: &[u8] = b"\0no route";

/// Limits by the path of the target, without its query.
///
/// It is [`RequestHead::decoded_path`], so that a client has one key however it escapes the path. Paths that differ
/// in an escaped and a plain slash share a key.
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
///
/// In Actix Web, a throttle around a resource knows its pattern. One around an app or a scope decides before
/// the route is known, and takes the first pattern that matches the path: guards, such as those for methods, are not
/// asked. Where resources with guards overlap, as `/users/me` for `GET` and `/users/{id}` for `POST`, `POST /users/me`
/// counts for `/users/me` there.
#[derive(Copy, Clone, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to say about it")]
pub struct RoutePattern;

/// Limits all requests together, whoever makes them: one key.
#[derive(Copy, Clone, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to say about it")]
pub struct Global;

/// Limits by the host and port that are asked for: what calls that a client makes are told apart by.
///
/// They are those of the target, or, where it has none, of the `Host` field, in lower case, without the
/// final dot of a full name, and without the port that the scheme has by default; where no scheme is said,
/// as in what servers are sent, without 80 and 443. On a server they are what the client wrote; whoever makes
/// hosts up has a limit for each.
#[derive(Copy, Clone, Default, Debug)]
#[expect(clippy::exhaustive_structs, reason = "there is nothing to say about it")]
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
        // What is before the `@` are credentials.
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
    fn all_requests_have_one_key_together() {
        let (one, two) =
            (Request::get("/a").body(()).unwrap(), Request::post("/b").body(()).unwrap());
        let peer = Some([192, 0, 2, 1].into());
        let key = Global.extract(&RequestHead::new(&one, peer)).unwrap();
        assert_eq!(key, Global.extract(&RequestHead::new(&two, None)).unwrap());
        assert_eq!(key.as_bytes(), b"global");
    }

    #[test]
    fn a_host_is_one_however_it_is_written() {
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
    fn another_port_or_name_is_another_host() {
        for target in
            ["https://api.example.com:80/", "http://api.example.com:443/", "http://[::1]/"]
        {
            assert_ne!(host(target, None).unwrap().as_bytes(), b"api.example.com", "{target}");
        }
        assert_eq!(host("http://[::1]:8080/", None).unwrap().as_bytes(), b"[::1]:8080");
    }

    #[test]
    fn a_host_that_reads_like_an_address_is_none_to_the_lists() {
        assert_eq!(host("http://192.0.2.1/", None).unwrap().address(), None);
    }

    #[test]
    fn a_target_without_a_host_has_no_key() {
        assert_eq!(host("/path", None), Err(NoKey::NoHost));
        assert_eq!(host("/path", Some("")), Err(NoKey::NoHost));
    }
}
