//! An adapter for functions that answer requests, and its test.

use std::{
    sync::Arc,
    task::{Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use throttle_http::{ConfigError, RequestHead, ResponseHead, Throttle};
use throttle_testkit::http::{Adapter, Handler, Layer, Reader, run};

/// A handler in layers, the innermost first.
struct Limited {
    layers: Vec<Arc<Throttle>>,
    handler: Handler,
}

/// Calls a handler, if each of the layers allows it.
async fn call(
    layers: &[Arc<Throttle>],
    handler: Handler,
    mut request: Request<Bytes>,
) -> Response<Reader> {
    let Some((throttle, inner)) = layers.split_last() else {
        return handler.call(request.map(drop)).await.map(Reader::new);
    };
    let pass = match throttle.check(&RequestHead::new(&request, None)).await {
        Ok(pass) => pass,
        Err(rejection) => return rejection.into_response_to(request.method()).map(Reader::from),
    };
    let attached = pass.attach(request.extensions_mut());
    let mut response = Box::pin(call(inner, handler, request)).await;
    let head = ResponseHead::new(response.status(), response.headers());
    let Ok(done) = attached.finish(&head).await;
    let mut guard = done.write(&mut response);
    response.map(|mut body| {
        Reader::from_fn(move |cx| {
            let piece = ready!(body.poll_next(cx));
            match (&guard, &piece) {
                (Some(guard), Some(Ok(piece))) => guard.sent(piece.len()),
                _ => drop(guard.take()), // the body has ended
            }
            Poll::Ready(piece)
        })
    })
}

struct Functions;

impl Adapter for Functions {
    type Service = Limited;

    async fn service(
        &self,
        layers: &[Layer],
        handler: Handler,
    ) -> Result<Limited, Arc<ConfigError>> {
        let throttle = |layer: &Layer| {
            let limiter = layer.source().into_limiter(None)?;
            Throttle::new(limiter, layer.options()).map(Arc::new)
        };
        let layers = layers.iter().map(throttle).collect::<Result<_, _>>()?;
        Ok(Limited { layers, handler })
    }

    async fn call(&self, service: &Limited, request: Request<Bytes>) -> Response<Reader> {
        call(&service.layers, service.handler.clone(), request).await
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
