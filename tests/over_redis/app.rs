//! An Axum and an Actix service with the same behavior.

use std::{net::SocketAddr, pin::Pin, rc::Rc, sync::Arc};

use actix_web::{
    HttpResponse,
    body::{self, MessageBody},
    dev::{Service, ServiceResponse},
    test::{TestRequest, init_service},
    web,
};
use axum::{
    Extension, Router,
    body::{Body, to_bytes},
    extract::{Path, connect_info::MockConnectInfo},
    http::{HeaderName, HeaderValue, Request, Response, StatusCode},
    routing::get,
};
use ratethrottle::{
    Limiter, RateThrottle, RateThrottleLayer,
    options::{ActualCost, Options},
};
use tokio::sync::{Notify, mpsc, oneshot};
use tower::ServiceExt;

/// The peer address of all requests.
const PEER: ([u8; 4], u16) = ([203, 0, 113, 7], 50_000);

type Answer = Pin<Box<dyn Future<Output = Response<()>> + Send>>;

/// A service at `/{status}/{cost}`, which responds with that status and reports that cost. It never responds if the
/// status is 0.
#[derive(Clone)]
pub(super) struct App {
    ask: Arc<dyn Fn(&'static str) -> Answer + Send + Sync>,
    /// Notified when a handler starts to wait.
    pub(super) reached: Arc<Notify>,
}

impl App {
    /// The constructors of both kinds.
    pub(super) const KINDS: [fn(&Limiter, Options) -> Self; 2] = [Self::axum, Self::actix];

    /// Sends a request, and reads the response to its end. Dropping the future disconnects the client.
    pub(super) async fn ask(&self, path: &'static str) -> Response<()> {
        (self.ask)(path).await
    }

    pub(super) fn axum(limiter: &Limiter, options: Options) -> Self {
        let layer = RateThrottleLayer::from_options(limiter, options).build();
        let reached = Arc::new(Notify::new());
        let waits = Arc::clone(&reached);
        let handler = async move |Path((status, cost)): Path<(u16, u64)>,
                                  actual: Option<Extension<ActualCost>>| {
            let actual = actual.map(|Extension(actual)| actual);
            let status = handle(status, cost, actual, &waits).await;
            (StatusCode::from_u16(status).expect("the value is valid"), "hello")
        };
        let router = Router::new()
            .route("/{status}/{cost}", get(handler))
            .layer(layer.expect("the options are valid"))
            .layer(MockConnectInfo(SocketAddr::from(PEER)));
        let ask = Arc::new(move |path| -> Answer {
            let request = Request::get(path).body(Body::empty()).expect("the path is valid");
            let answer = router.clone().oneshot(request);
            Box::pin(async {
                let Ok(response) = answer.await;
                let (head, body) = response.into_parts();
                to_bytes(body, 1024).await.expect("the body is complete");
                Response::from_parts(head, ())
            })
        });
        Self { ask, reached }
    }

    /// Runs the app in its own thread, like a worker of Actix.
    pub(super) fn actix(limiter: &Limiter, options: Options) -> Self {
        let throttle = RateThrottle::from_options(limiter, options).build();
        let throttle = throttle.expect("the options are valid");
        let reached = Arc::new(Notify::new());
        let waits = web::Data::from(Arc::clone(&reached));
        let (asks, mut asked) = mpsc::unbounded_channel::<(_, oneshot::Sender<_>)>();
        let serve = move || async move {
            let handler = async |path: web::Path<(u16, u64)>,
                                 actual: Option<web::ReqData<ActualCost>>,
                                 waits: web::Data<Notify>| {
                let (status, cost) = path.into_inner();
                let actual = actual.map(web::ReqData::into_inner);
                let status = handle(status, cost, actual, &waits).await;
                HttpResponse::build(status.try_into().expect("the value is valid")).body("hello")
            };
            let app = actix_web::App::new().wrap(throttle).app_data(waits);
            let app = app.route("/{status}/{cost}", web::get().to(handler));
            let app = Rc::new(init_service(app).await);
            while let Some((path, mut reply)) = asked.recv().await {
                let app = Rc::clone(&app);
                actix_web::rt::spawn(async move {
                    let answer = answer_of_actix(&*app, path);
                    tokio::select! {
                        response = answer => drop(reply.send(response)),
                        () = reply.closed() => {}
                    }
                });
            }
        };
        std::thread::spawn(|| actix_web::rt::System::new().block_on(serve()));
        let ask = Arc::new(move |path| -> Answer {
            let (reply, answer) = oneshot::channel();
            asks.send((path, reply)).expect("the thread runs");
            Box::pin(async { answer.await.expect("the thread answers") })
        });
        Self { ask, reached }
    }
}

async fn handle(status: u16, cost: u64, actual: Option<ActualCost>, waits: &Notify) -> u16 {
    if let Some(actual) = actual {
        actual.set(cost);
    }
    if status == 0 {
        waits.notify_one();
        std::future::pending::<()>().await;
    }
    status
}

async fn answer_of_actix<S, B>(app: &S, path: &str) -> Response<()>
where
    S: Service<actix_http::Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    let request = TestRequest::get().uri(path).peer_addr(PEER.into()).to_request();
    let response = app.call(request).await.expect("the app answers");
    let mut answer = Response::new(());
    let status = StatusCode::from_u16(response.status().as_u16());
    *answer.status_mut() = status.expect("the value is valid");
    for (name, value) in response.headers() {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).expect("the value is valid");
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("the value is valid");
        answer.headers_mut().append(name, value);
    }
    let read = body::to_bytes(response.into_body()).await;
    assert!(read.is_ok(), "the body failed");
    answer
}
