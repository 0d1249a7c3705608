//! A complete adapter for async functions, and its test.

use std::{io, net::IpAddr, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use throttle_http::{ConfigError, RequestHead, ResponseBody, ResponseHead, Throttle};
use throttle_testkit::http::{Adapter, Handler, Layer, Reader, run};

/// Limits the requests to a handler. This function is the whole adapter.
async fn limited<B, R>(
    throttle: &Arc<Throttle>,
    peer: Option<IpAddr>,
    mut request: Request<B>,
    handler: impl AsyncFnOnce(Request<B>) -> Response<R>,
) -> Response<ResponseBody<R>> {
    let pass = match throttle.check(&RequestHead::new(&request, peer)).await {
        Ok(pass) => pass,
        Err(rejected) => {
            let response = throttle.respond(rejected, &RequestHead::new(&request, peer));
            return response.map(ResponseBody::rejection);
        }
    };
    let attached = pass.attach(request.extensions_mut());
    let mut response = handler(request).await;
    let head = ResponseHead::new(response.status(), response.headers());
    let Ok(done) = attached.finish(&head).await;
    let guard = done.write(&mut response);
    response.map(|body| ResponseBody::inner(body, guard))
}

/// A handler that is wrapped in layers, the innermost first.
struct Limited {
    layers: Vec<Arc<Throttle>>,
    handler: Handler,
}

/// Calls the handler if all layers allow the request.
async fn call(
    layers: &[Arc<Throttle>],
    handler: Handler,
    request: Request<Bytes>,
) -> Response<UnsyncBoxBody<Bytes, io::Error>> {
    let Some((throttle, inner)) = layers.split_last() else {
        return handler.call(request.map(drop)).await.map(UnsyncBoxBody::new);
    };
    let peer = request.extensions().get().map(SocketAddr::ip);
    let inner = async |request| Box::pin(call(inner, handler, request)).await;
    limited(throttle, peer, request, inner).await.map(UnsyncBoxBody::new)
}

struct Functions;

impl Adapter for Functions {
    type Service = Limited;

    async fn service(&self, layers: &[Layer], handler: Handler) -> Result<Limited, ConfigError> {
        let layers = layers.iter().map(Layer::throttle).collect::<Result<_, _>>()?;
        Ok(Limited { layers, handler })
    }

    async fn call(&self, service: &Limited, request: Request<Bytes>) -> Response<Reader> {
        call(&service.layers, service.handler.clone(), request).await.map(Reader::new)
    }
}

#[tokio::test]
async fn the_adapter_passes_the_suite() {
    let report = run(Functions).await;
    assert!(report.scenarios > 500 && report.answers > 1000, "{report:?}");
    let not_offered = ["a layer of a rule alone", "a layer that is not built", "routes"];
    assert_eq!(report.unchecked[..3], not_offered);
    assert_eq!(report.unchecked[3..], ["HTTP/1.1 over sockets", "HTTP/2 over sockets"]);
}
