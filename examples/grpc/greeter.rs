//! What tonic's code generator would write of
//! `service Greeter { rpc Hello(google.protobuf.StringValue) returns (google.protobuf.StringValue); }`,
//! by hand, so that this example needs no compiler of protocol buffers.

use std::{
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tonic::{
    Request, Response, Status,
    body::Body,
    client::Grpc as Client,
    codegen::http::{Request as HttpRequest, Response as HttpResponse, uri::PathAndQuery},
    server::{Grpc as Server, NamedService},
    transport::{Channel, Endpoint, Error},
};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

type Codec = ProstCodec<String, String>;

#[derive(Clone)]
pub(crate) struct Greeter;

impl Greeter {
    async fn hello(request: Request<String>) -> Result<Response<String>, Status> {
        Ok(Response::new(format!("hello {}", request.into_inner())))
    }
}

impl NamedService for Greeter {
    const NAME: &'static str = "guide.v1.Greeter";
}

impl Service<HttpRequest<Body>> for Greeter {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        Box::pin(async move {
            Ok(match request.uri().path() {
                "/guide.v1.Greeter/Hello" => {
                    Server::new(Codec::default()).unary(service_fn(Self::hello), request).await
                }
                _ => Status::unimplemented("there is no such method").into_http(),
            })
        })
    }
}

pub(crate) struct GreeterClient(Client<Channel>);

impl GreeterClient {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Error> {
        Ok(Self(Client::new(channel(address).await?)))
    }

    pub(crate) async fn hello(&mut self, request: Request<String>) -> Result<String, Status> {
        self.0.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let path = PathAndQuery::from_static("/guide.v1.Greeter/Hello");
        Ok(self.0.unary(request, path, Codec::default()).await?.into_inner())
    }
}

pub(crate) async fn channel(address: SocketAddr) -> Result<Channel, Error> {
    Endpoint::from_shared(format!("http://{address}"))?.connect().await
}
