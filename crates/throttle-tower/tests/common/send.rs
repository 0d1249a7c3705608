//! Sends the requests of the table over a socket, by HTTP/1.1 or by HTTP/2.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST},
};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::client::conn as client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// In which field a request says where it comes from: all connections come from loopback.
pub(crate) const PEER: &str = "x-test-peer";

pub(crate) type Sent = UnsyncBoxBody<Bytes, hyper::Error>;

/// Sends a request on a connection of its own, and reads the answer to its end.
///
/// # Errors
///
/// The request, where hyper would refuse or change it.
pub(crate) async fn send(
    version: Version,
    address: SocketAddr,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, Request<Bytes>> {
    let (mut head, body) = request.into_parts();
    let length = head.headers.get(CONTENT_LENGTH);
    let length = length.map(|length| length.to_str().unwrap().parse::<usize>());
    let is_changed = version == Version::HTTP_2 && head.headers.contains_key(CONNECTION);
    if is_changed || matches!(length, Some(Err(_))) {
        return Err(Request::from_parts(head, body));
    }
    let may_have_body = [Method::POST, Method::PUT, Method::PATCH].contains(&head.method);
    let sent = match length {
        Some(Ok(length)) if length != body.len() => Unsaid::Never.boxed_unsync(),
        None if may_have_body && body.is_empty() => Unsaid::Nothing.boxed_unsync(),
        _ => full(body),
    };
    if let Some(peer) = head.extensions.remove::<SocketAddr>() {
        head.headers.insert(PEER, peer.to_string().parse().unwrap());
    }
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let response = match version {
        Version::HTTP_11 => {
            head.headers.entry(HOST).or_insert(HeaderValue::from_static("localhost"));
            let (mut sender, connection) = client::http1::handshake(stream).await.unwrap();
            tokio::spawn(connection);
            sender.send_request(Request::from_parts(head, sent)).await.unwrap()
        }
        _ => {
            head.uri = absolute(head.uri, head.headers.remove(HOST));
            let handshake = client::http2::handshake(TokioExecutor::new(), stream);
            let (mut sender, connection) = handshake.await.unwrap();
            tokio::spawn(connection);
            sender.send_request(Request::from_parts(head, sent)).await.unwrap()
        }
    };
    assert_eq!(response.version(), version);
    let (head, body) = response.into_parts();
    Ok(Response::from_parts(head, body.collect().await.unwrap().to_bytes()))
}

/// In HTTP/2 the host stands in the target.
fn absolute(uri: Uri, host: Option<HeaderValue>) -> Uri {
    if uri.authority().is_some() {
        return uri;
    }
    let host = host.as_ref().map_or("localhost", |host| host.to_str().unwrap());
    format!("http://{host}{uri}").parse().unwrap()
}

pub(crate) fn full(body: Bytes) -> Sent {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

/// A body whose length is not known before its end.
enum Unsaid {
    Nothing,
    Never,
}

impl Body for Unsaid {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match *self {
            Self::Nothing => Poll::Ready(None),
            Self::Never => Poll::Pending,
        }
    }
}
