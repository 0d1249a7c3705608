//! The middleware as an adapter of the suite.

use std::pin::Pin;

use actix_web::{
    App, Error, HttpMessage, HttpRequest, HttpResponse, Resource,
    body::{BodyStream, BoxBody, MessageBody},
    dev::{Extensions, Service as _, ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::Compat,
    test::init_service,
    web,
};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Version};
use throttle_actix::RateThrottle;
use throttle_core::Decisions;
use throttle_http::{ActualCost, ConfigError, InFlight};
use throttle_testkit::http::{Adapter, Handler, Layer, PEER, Reader, Server, peer};

use crate::common::{self, Runtime, head_of, to_actix, to_actix_response};

/// The handler that the innermost layer wraps; the other layers wrap the app.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Actix {
    App,
    /// An app in a `Compat`.
    Compat,
    Scope,
    Resources,
}

type Answer = Pin<Box<dyn Future<Output = ServiceResponse<BoxBody>>>>;

/// An app of any type.
pub(crate) struct Service(Box<dyn Fn(actix_http::Request) -> Answer>);

/// Wraps an app of any type in the outer layers.
macro_rules! made_in {
    ($layers:expr, $app:expr) => {
        match $layers {
            [] => made($app).await,
            [one] => made($app.wrap(one.clone())).await,
            [one, two] => made($app.wrap(one.clone()).wrap(two.clone())).await,
            _ => panic!("too many layers in a scenario"),
        }
    };
}

impl Adapter for Actix {
    type Service = Service;

    async fn service(&self, layers: &[Layer], handler: Handler) -> Result<Service, ConfigError> {
        let layers = layers.iter().map(throttle).collect::<Result<Vec<_>, _>>()?;
        let [inner, outer @ ..] = &layers[..] else { panic!("a scenario without a layer") };
        let (inner, app) = (inner.clone(), App::new().app_data(web::Data::new(handler)));
        Ok(match self {
            Self::App => {
                made_in!(outer, app.service(user()).default_service(web::to(answer)).wrap(inner))
            }
            Self::Compat => {
                let app = app.service(user()).default_service(web::to(answer));
                made_in!(outer, app.wrap(Compat::new(inner)))
            }
            Self::Scope => {
                let scope = web::scope("").service(user()).default_service(web::to(answer));
                made_in!(outer, app.service(scope.wrap(inner)))
            }
            Self::Resources => {
                let resource = |path| web::resource(path).wrap(inner.clone()).to(answer);
                let paths = ["/users/{id}", "/", "/{path:.*}"].into_iter();
                made_in!(outer, paths.fold(app, |app, path| app.service(resource(path))))
            }
        })
    }

    async fn serve(&self, version: Version, layers: &[Layer], handler: Handler) -> Option<Server> {
        let Self::App = self else { return None };
        let layers: Vec<_> = layers.iter().map(|layer| throttle(layer).unwrap()).collect();
        let handler = web::Data::new(handler);
        let app = move || {
            let app = App::new().app_data(handler.clone()).service(user());
            app.default_service(web::to(answer))
        };
        Some(match &layers[..] {
            [one] => {
                let one = one.clone();
                started(version, move || app().wrap(one.clone()))
            }
            [one, two] => {
                let (one, two) = (one.clone(), two.clone());
                started(version, move || app().wrap(one.clone()).wrap(two.clone()))
            }
            _ => panic!("too many layers in a scenario over sockets"),
        })
    }

    async fn call(&self, service: &Service, request: Request<Bytes>) -> Response<Reader> {
        let response = service.0(to_actix(request)).await;
        let head = head_of(&response);
        let mut body = response.into_body();
        head.map(|()| Reader::from_fn(move |cx| body.as_pin_mut().poll_next(cx)))
    }
}

fn throttle(layer: &Layer) -> Result<RateThrottle, ConfigError> {
    let made = RateThrottle::from_options(layer.source(), layer.options());
    if layer.is_built() { made.build() } else { Ok(made) }
}

fn started<T, B>(version: Version, app: impl Fn() -> App<T> + Send + Clone + 'static) -> Server
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
    let runtime = match version {
        Version::HTTP_2 => Runtime::SystemOfHttp2,
        _ => Runtime::System,
    };
    let app = move || app().wrap_fn(|request, next| next.call(from_peer(request)));
    let server = common::Server::start(runtime, 1, 1, app);
    Server::new(server.addresses[0], server)
}

/// Sets the peer of a request from its extensions.
fn from_peer(mut request: ServiceRequest) -> ServiceRequest {
    let field = request.headers_mut().remove(PEER).next();
    let field = field.as_ref().map(|field| field.as_bytes());
    request.head_mut().peer_addr = peer(field, request.peer_addr());
    request
}

async fn made<T, B>(app: App<T>) -> Service
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
    let app = init_service(app).await;
    Service(Box::new(move |request| {
        let answer = app.call(request);
        Box::pin(async move {
            match answer.await {
                Ok(response) => response.map_into_boxed_body(),
                Err(error) => panic!("{error}"),
            }
        })
    }))
}

fn user() -> Resource {
    web::resource("/users/{id}").to(answer)
}

async fn answer(request: HttpRequest, handler: web::Data<Handler>) -> HttpResponse {
    fn copy<T: Clone + Send + Sync + 'static>(from: &Extensions, to: &mut Request<()>) {
        from.get::<T>().map(|value| to.extensions_mut().insert(value.clone()));
    }
    let mut copied = Request::new(());
    *copied.method_mut() = Method::from_bytes(request.method().as_str().as_bytes()).unwrap();
    if let Some(what) = request.headers().get("x-do") {
        copied.headers_mut().insert("x-do", HeaderValue::from_bytes(what.as_bytes()).unwrap());
    }
    copy::<Decisions>(&request.extensions(), &mut copied);
    copy::<InFlight>(&request.extensions(), &mut copied);
    copy::<ActualCost>(&request.extensions(), &mut copied);
    let (head, body) = handler.get_ref().clone().call(copied).await.into_parts();
    to_actix_response(Response::from_parts(head, Bytes::new())).set_body(match body.into_bytes() {
        Ok(bytes) => BoxBody::new(bytes),
        Err(stream) => BoxBody::new(BodyStream::new(stream)),
    })
}
