//! A client of hyper, over HTTP/1.1 and over HTTP/2.
#![allow(dead_code, unreachable_pub, reason = "every program uses another part of it")]

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
pub const PEER: &str = "x-test-peer";

pub type Sent = UnsyncBoxBody<Bytes, hyper::Error>;

/// Returns whether hyper sends the request as it is, and does not refuse or change it.
pub fn can_be_sent(version: Version, request: &Request<Bytes>) -> bool {
    let is_changed = version == Version::HTTP_2 && request.headers().contains_key(CONNECTION);
    !is_changed && !matches!(length_of(request), Some(Err(_)))
}

/// Sends a request over a connection of its own, and reads the response to its end. The peer that stands in the
/// extensions goes as a field.
pub async fn send(
    version: Version,
    address: SocketAddr,
    request: Request<Bytes>,
) -> Response<Bytes> {
    let length = length_of(&request);
    let (mut head, body) = with_peer(request).into_parts();
    let may_have_body = [Method::POST, Method::PUT, Method::PATCH].contains(&head.method);
    let sent = match length {
        Some(Ok(length)) if length != body.len() => Unsaid::Never.sent(),
        None if may_have_body && body.is_empty() => Unsaid::Nothing.sent(),
        _ => full(body),
    };
    let response = if version == Version::HTTP_11 {
        head.headers.entry(HOST).or_insert(HeaderValue::from_static("localhost"));
        let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
        let (mut sender, connection) = client::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.send_request(Request::from_parts(head, sent)).await.unwrap()
    } else {
        head.uri = absolute(head.uri, head.headers.remove(HOST));
        connect(address).await.send_request(Request::from_parts(head, sent)).await.unwrap()
    };
    assert_eq!(response.version(), version);
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

/// Opens a connection of HTTP/2, which ends with the last that uses it.
pub async fn connect(address: SocketAddr) -> client::http2::SendRequest<Sent> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let stream = TokioIo::new(stream);
    let handshake = client::http2::handshake(TokioExecutor::new(), stream);
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Writes the peer that stands in the extensions into a field.
pub fn with_peer(mut request: Request<Bytes>) -> Request<Bytes> {
    if let Some(peer) = request.extensions_mut().remove::<SocketAddr>() {
        request.headers_mut().insert(PEER, peer.to_string().parse().unwrap());
    }
    request
}

pub fn full(body: Bytes) -> Sent {
    Full::new(body).map_err(|never| match never {}).boxed_unsync()
}

fn length_of(request: &Request<Bytes>) -> Option<Result<usize, std::num::ParseIntError>> {
    let length = request.headers().get(CONTENT_LENGTH);
    length.map(|length| length.to_str().unwrap().parse())
}

/// In HTTP/2 the host stands in the target.
fn absolute(uri: Uri, host: Option<HeaderValue>) -> Uri {
    if uri.authority().is_some() {
        return uri;
    }
    let host = host.as_ref().map_or("localhost", |host| host.to_str().unwrap());
    format!("http://{host}{uri}").parse().unwrap()
}

/// A body whose length is not known before its end.
enum Unsaid {
    Nothing,
    Never,
}

impl Unsaid {
    fn sent(self) -> Sent {
        self.boxed_unsync()
    }
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
