//! A client that opens a new connection for each request.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST},
};
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::http::body::Reader;

/// Returns whether the client sends the request unchanged.
pub(super) fn can_send(version: Version, request: &Request<Bytes>) -> bool {
    let is_changed = version == Version::HTTP_2 && request.headers().contains_key(CONNECTION);
    !is_changed && !matches!(length_of(request), Some(None))
}

/// Sends a request over a new connection, and reads the response to its end.
pub(super) async fn send(
    version: Version,
    address: SocketAddr,
    request: Request<Bytes>,
) -> hyper::Result<Response<Bytes>> {
    let length = length_of(&request).flatten();
    let (mut head, body) = request.into_parts();
    let may_have_body = [Method::POST, Method::PUT, Method::PATCH].contains(&head.method);
    let body = match length {
        Some(length) if length != body.len() => Sent::Never,
        None if may_have_body && body.is_empty() => Sent::Undeclared,
        _ => Sent::Whole(Some(body).filter(|body| !body.is_empty())),
    };
    let stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("TCP_NODELAY can be set");
    let stream = TokioIo::new(stream);
    let response = if version == Version::HTTP_2 {
        head.uri = absolute(head.uri, head.headers.remove(HOST));
        let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await?;
        tokio::spawn(connection);
        sender.send_request(Request::from_parts(head, body)).await?
    } else {
        head.headers.entry(HOST).or_insert(HeaderValue::from_static("localhost"));
        let (mut sender, connection) = http1::handshake(stream).await?;
        tokio::spawn(connection);
        sender.send_request(Request::from_parts(head, body)).await?
    };
    assert_eq!(response.version(), version);
    Ok(Reader::whole(response.map(Reader::new)).await)
}

/// Returns the declared length of a request; the inner `None` is a length that is not a number.
fn length_of(request: &Request<Bytes>) -> Option<Option<usize>> {
    let length = request.headers().get(CONTENT_LENGTH)?;
    Some(length.to_str().ok().and_then(|length| length.parse().ok()))
}

/// Moves the host into the target, as HTTP/2 requires.
fn absolute(uri: Uri, host: Option<HeaderValue>) -> Uri {
    if uri.authority().is_some() {
        return uri;
    }
    let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    format!("http://{host}{uri}").parse().expect("a host and a path are a valid URI")
}

/// The body of a request.
enum Sent {
    Whole(Option<Bytes>),
    /// An empty body without a declared length.
    Undeclared,
    /// A body that is never sent.
    Never,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            Self::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Self::Undeclared => Poll::Ready(None),
            Self::Never => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => {
                SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64))
            }
            _ => SizeHint::new(),
        }
    }
}
