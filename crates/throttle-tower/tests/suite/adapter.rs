//! The layer as an adapter of the suite.

use std::{convert::Infallible, net::SocketAddr, panic::resume_unwind};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    routing::{MethodRouter, any},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, Version};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use throttle_http::ConfigError;
use throttle_testkit::http::{Adapter, Handler, Layer, PEER, Reader, Server, peer};
use throttle_tower::RateThrottleLayer;
use tokio::{net::TcpListener, task::JoinSet};
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

/// The handler that the layers wrap.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Tower {
    /// An axum router.
    Router,
    /// An axum router that handles each request in a separate task, in any thread.
    Tasks,
    /// Each route of an axum router; the outer layers wrap the router.
    Routes,
    /// A service without axum.
    Plain,
}

type Service = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

impl Adapter for Tower {
    type Service = Service;

    async fn service(&self, layers: &[Layer], handler: Handler) -> Result<Service, ConfigError> {
        let mut layers = layers.iter().map(layer).collect::<Result<Vec<_>, _>>()?;
        let answer = move |request: Request<Body>| {
            let handler = handler.clone();
            async move { handler.call(request.map(drop)).await.map(Body::new) }
        };
        if *self == Self::Plain {
            let answer = service_fn(move |request| {
                let answer = answer(request);
                async { Ok(answer.await) }
            });
            return Ok(layers.into_iter().fold(Service::new(answer), |inner, layer| {
                let body = |response: Response<_>| response.map(Body::new);
                Service::new(ServiceBuilder::new().map_response(body).layer(layer).service(inner))
            }));
        }
        let inner = (*self == Self::Routes).then(|| layers.remove(0));
        let mut router = Router::new();
        for path in ["/", "/users/{id}", "/{*path}"] {
            let route: MethodRouter = any(answer.clone());
            router = match &inner {
                Some(inner) => router.route(path, route.layer(inner.clone())),
                None => router.route(path, route),
            };
        }
        Ok(Service::new(layers.into_iter().fold(router, Router::layer)))
    }

    async fn call(&self, service: &Service, mut request: Request<Bytes>) -> Response<Reader> {
        if let Some(peer) = request.extensions_mut().remove::<SocketAddr>() {
            self.set_peer(&mut request, peer);
        }
        let answer = service.clone().oneshot(request.map(Body::from));
        let Ok(response) = match self {
            Self::Tasks => spawned(answer).await,
            _ => answer.await,
        };
        response.map(Reader::new)
    }

    async fn serve(&self, version: Version, layers: &[Layer], handler: Handler) -> Option<Server> {
        if !matches!(self, Self::Router | Self::Plain) {
            return None;
        }
        let (kind, service) = (*self, self.service(layers, handler).await.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            while let Ok((stream, connection)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let service = service.clone();
                let named = service_fn(move |mut request: Request<Incoming>| {
                    let field = request.headers_mut().remove(PEER);
                    let field = field.as_ref().map(HeaderValue::as_bytes);
                    if let Some(peer) = peer(field, Some(connection)) {
                        kind.set_peer(&mut request, peer);
                    }
                    service.clone().oneshot(request.map(Body::new))
                });
                let (io, service) = (TokioIo::new(stream), TowerToHyperService::new(named));
                if version == Version::HTTP_2 {
                    let mut server = http2::Builder::new(TokioExecutor::new());
                    server.max_header_list_size(1 << 20); // some keys have 64 KiB
                    tokio::spawn(server.serve_connection(io, service));
                } else {
                    tokio::spawn(http1::Builder::new().serve_connection(io, service));
                }
            }
        });
        Some(Server::new(address, tasks))
    }
}

impl Tower {
    /// Sets the address of the connection, as axum does or as a custom server does.
    fn set_peer<B>(self, request: &mut Request<B>, peer: SocketAddr) {
        match self {
            Self::Plain => drop(request.extensions_mut().insert(peer)),
            _ => drop(request.extensions_mut().insert(ConnectInfo(peer))),
        }
    }
}

/// Awaits a task. The task is aborted when this is dropped, and its panics are resumed.
async fn spawned<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    let mut task = JoinSet::from_iter([future]);
    match task.join_next().await.unwrap() {
        Ok(answer) => answer,
        Err(error) => resume_unwind(error.into_panic()),
    }
}

fn layer(layer: &Layer) -> Result<RateThrottleLayer, ConfigError> {
    let made = RateThrottleLayer::from_options(layer.source(), layer.options());
    if layer.is_built() { made.build() } else { Ok(made) }
}
