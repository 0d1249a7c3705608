//! A gRPC service and its client, as generated code would be, and a server for them.

use std::{
    convert::Infallible,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use http::uri::PathAndQuery;
use throttle_tower::RateThrottleLayer;
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    client::Grpc as Client,
    codegen::tokio_stream::{Stream, iter},
    server::{Grpc as Server, NamedService},
    service::Routes,
    transport::{Channel, Endpoint, Server as Transport, server::TcpIncoming},
};
use tonic_prost::ProstCodec;
use tonic_reflection::server::Builder as Reflection;
use tower::{Service, service_fn};

/// A service with two methods that greet, and a third that echoes a stream.
#[derive(Clone)]
pub(crate) struct Greeter;

impl NamedService for Greeter {
    const NAME: &'static str = "guide.v1.Greeter";
}

type Codec = ProstCodec<String, String>;

impl Service<http::Request<Body>> for Greeter {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(async move {
            let mut grpc = Server::new(Codec::default());
            let unary = service_fn(async |request: Request<String>| {
                let name = request.into_inner();
                if name == "unknown" {
                    return Err(Status::unauthenticated("who are you?"));
                }
                Ok(Response::new(format!("hello {name}")))
            });
            let echo = service_fn(async |request: Request<Streaming<String>>| {
                Ok::<_, Status>(Response::new(request.into_inner()))
            });
            Ok(match request.uri().path().rsplit('/').next() {
                Some("Hello" | "Welcome") => grpc.unary(unary, request).await,
                Some("Echo") => grpc.streaming(echo, request).await,
                _ => Status::unimplemented("no such method").into_http(),
            })
        })
    }
}

/// Serves the greeter, the health service and both versions of the reflection service behind a layer.
pub(crate) async fn serve(layer: RateThrottleLayer) -> SocketAddr {
    let (_, health) = tonic_health::server::health_reporter();
    let reflection = || {
        let services = Reflection::configure();
        services.register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(health)
        .add_service(Greeter)
        .add_service(reflection().build_v1().unwrap())
        .add_service(reflection().build_v1alpha().unwrap());
    let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Transport::builder().layer(layer).add_routes(routes);
    tokio::spawn(server.serve_with_incoming(incoming));
    address
}

/// A client of the greeter.
#[derive(Clone)]
pub(crate) struct Caller(Client<Channel>);

impl Caller {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self(Client::new(channel(address).await))
    }

    pub(crate) async fn hello(&mut self) -> Result<Response<String>, Status> {
        self.call("/guide.v1.Greeter/Hello", Request::new("you".to_owned())).await
    }

    pub(crate) async fn call(
        &mut self,
        method: &'static str,
        request: Request<String>,
    ) -> Result<Response<String>, Status> {
        self.0.ready().await.unwrap();
        self.0.unary(request, PathAndQuery::from_static(method), Codec::default()).await
    }

    pub(crate) async fn echo(
        &mut self,
        messages: impl Stream<Item = String> + Send + 'static,
    ) -> Result<Streaming<String>, Status> {
        self.0.ready().await.unwrap();
        let path = PathAndQuery::from_static("/guide.v1.Greeter/Echo");
        let request = Request::new(messages);
        Ok(self.0.streaming(request, path, Codec::default()).await?.into_inner())
    }

    /// Echoes the messages, and returns how many were received.
    pub(crate) async fn echo_all(&mut self, messages: &[&str]) -> Result<usize, Status> {
        let messages: Vec<String> = messages.iter().map(|&message| message.to_owned()).collect();
        let mut echo = self.echo(iter(messages)).await?;
        let mut echoed = 0;
        while echo.message().await?.is_some() {
            echoed += 1;
        }
        Ok(echoed)
    }

    pub(crate) async fn code(&mut self) -> Code {
        self.hello().await.map_or_else(|status| status.code(), |_| Code::Ok)
    }
}

pub(crate) async fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}
