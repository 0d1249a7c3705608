//! An adapter over sockets.

use std::{net::SocketAddr, panic::resume_unwind};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use throttle_http::ConfigError;

use crate::http::{
    adapter::{Adapter, Layer, Server},
    body::Reader,
    handler::Handler,
    sockets::{
        client,
        peer::{PEER, UNKNOWN},
    },
};

/// An adapter whose services are called over a socket.
pub(in crate::http) struct Wired<'a, A> {
    pub adapter: &'a A,
    pub version: Version,
}

/// A server, and the same service in this process.
pub(in crate::http) struct Served<S> {
    pub server: Server,
    service: S,
}

impl<A: Adapter> Adapter for Wired<'_, A> {
    type Service = Served<A::Service>;

    async fn service(
        &self,
        layers: &[Layer],
        handler: Handler,
    ) -> Result<Self::Service, ConfigError> {
        let service = self.adapter.service(layers, handler.clone()).await?;
        let server = self.adapter.serve(self.version, layers, handler).await;
        Ok(Served { server: server.expect("`serve` returned a server before"), service })
    }

    async fn call(&self, served: &Self::Service, request: Request<Bytes>) -> Response<Reader> {
        if !client::can_send(self.version, &request) {
            return self.adapter.call(&served.service, request).await;
        }
        match client::send(self.version, served.server.address, with_peer(request)).await {
            Ok(response) => response.map(Reader::from),
            Err(error) => resume_unwind(Box::new(format!("the connection failed: {error}"))),
        }
    }
}

/// Moves the peer address of a request into a field.
fn with_peer(mut request: Request<Bytes>) -> Request<Bytes> {
    let peer = request.extensions_mut().remove::<SocketAddr>();
    let peer = peer.map_or_else(|| UNKNOWN.to_owned(), |peer| peer.to_string());
    request.headers_mut().insert(PEER, HeaderValue::from_str(&peer).expect("addresses are text"));
    request
}
