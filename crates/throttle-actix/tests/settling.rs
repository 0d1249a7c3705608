//! Requests that are charged an estimate and settled to what they turned out to cost.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    App, Error, HttpMessage, HttpRequest, HttpResponse,
    body::{BodySize, BoxBody, MessageBody},
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    test::init_service,
    web,
};
use bytes::Bytes;
use http::{Request, Response};
use throttle_actix::RateThrottle;
use throttle_core::Limiter;
use throttle_http::{ActualCost, Options};
use throttle_memory::MemoryStorage;
use throttle_testkit::http::{Reader, Streamed, Teller, Told, run_settling};

use common::{Begun, Later, to_actix_response};

type Answer = Pin<Box<dyn Future<Output = Begun>>>;
type Asking = Box<dyn Fn(Request<Bytes>) -> Answer>;

struct Pieces(Streamed);

impl MessageBody for Pieces {
    type Error = io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, io::Error>>> {
        self.0.poll_next(cx)
    }
}

async fn respond(request: HttpRequest, teller: web::Data<Teller>) -> HttpResponse {
    let what = request.headers().get("x-do").map_or("", |what| what.to_str().unwrap());
    let cost = request.extensions().get::<ActualCost>().cloned();
    let (head, told) = teller.as_ref().clone().answer(what, cost).await.into_parts();
    let response = to_actix_response(Response::from_parts(head, Bytes::new()));
    match told {
        Told::Whole(body) => response.set_body(BoxBody::new(body)),
        Told::Streamed(body) => response.set_body(BoxBody::new(Pieces(body))),
    }
}

/// Wraps an app in each of the layers.
async fn app(layers: Vec<Options>, limiter: Limiter, teller: Teller) -> Asking {
    let throttle = |options| RateThrottle::from_options(&limiter, options).build().unwrap();
    let layers: Vec<_> = layers.into_iter().map(throttle).collect();
    let app = App::new().app_data(web::Data::new(teller)).default_service(web::to(respond));
    match &layers[..] {
        [one] => asking(app.wrap(one.clone())).await,
        [inner, outer] => asking(app.wrap(inner.clone()).wrap(outer.clone())).await,
        [inner, middle, outer] => {
            asking(app.wrap(inner.clone()).wrap(middle.clone()).wrap(outer.clone())).await
        }
        _ => panic!("no case has {} layers", layers.len()),
    }
}

async fn asking<T, B>(app: App<T>) -> Asking
where
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    B: MessageBody + 'static,
{
    let app = Rc::new(init_service(app).await);
    Box::new(move |request| {
        let app = Rc::clone(&app);
        Box::pin(async move { Begun::by(&*app, request).await })
    })
}

async fn ask(app: &Asking, request: Request<Bytes>) -> Response<Reader> {
    let Begun { status, fields, mut body } = app(request).await;

    let next = move |cx: &mut Context<'_>| body.as_pin_mut().poll_next(cx).map(|piece| piece?.ok());
    let mut response = Response::new(Reader::new(next));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = fields;
    response
}

#[actix_web::test]
async fn requests_are_settled_as_by_every_adapter() {
    run_settling(MemoryStorage::new, app, ask).await;
}

#[actix_web::test]
async fn requests_are_settled_as_by_every_adapter_where_the_storage_answers_later() {
    run_settling(Later::default, app, ask).await;
}
