//! The names and bounds of the middleware, its service and its future.
#![cfg(feature = "memory")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{pin::Pin, sync::OnceLock};

use actix_web::{
    App, Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{Service, ServiceFactory, ServiceRequest, ServiceResponse, Transform, fn_service},
    test::{TestRequest, init_service},
    web,
};
use throttle_actix::{RateThrottle, RateThrottleService, ResponseFuture};
use throttle_core::{Limiter, Rule};
use throttle_memory::MemoryStorage;

use common::{Later, PEER, call, get, get_path, limiter};

/// The state of a program that keeps a throttle.
#[derive(Clone, Debug)]
struct State {
    limiter: Limiter,
    throttle: RateThrottle,
}

fn throttle_of(limiter: &Limiter) -> RateThrottle {
    RateThrottle::new(limiter).rule("api")
}

#[actix_web::test]
async fn a_throttle_can_be_kept_in_a_field_and_returned_from_a_function() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let state = State { throttle: throttle_of(&limiter), limiter };
    let kept = state.clone();
    let app = App::new()
        .service(web::resource("/").wrap(kept.throttle.clone()).to(async || ""))
        .service(web::resource("/other").wrap(kept.throttle).to(async || ""));
    let app = init_service(app).await;
    assert_eq!(call(&app, get()).await.status(), 200);
    assert_eq!(call(&app, get_path("/other")).await.status(), 429, "clones share one limiter");
    assert_eq!(state.limiter.metrics().total, 2);
}

#[test]
fn a_throttle_is_shared_between_threads() {
    fn is_shared<T: Send + Sync + Clone + 'static>() {}
    is_shared::<RateThrottle>();
    static THROTTLE: OnceLock<RateThrottle> = OnceLock::new();
    THROTTLE.get_or_init(|| RateThrottle::new(Rule::per_minute("api", 1)));
}

#[actix_web::test]
async fn the_service_and_the_future_have_names() {
    type Inner = std::rc::Rc<
        dyn Service<
                ServiceRequest,
                Response = ServiceResponse,
                Error = Error,
                Future = std::future::Ready<Result<ServiceResponse, Error>>,
            >,
    >;
    struct Kept(RateThrottleService<Inner>);
    impl Kept {
        fn ask(&self) -> ResponseFuture<Inner, BoxBody> {
            self.0.call(TestRequest::default().peer_addr(PEER).to_srv_request())
        }
    }
    for (limiter, shown) in [
        (limiter(MemoryStorage::new(), 1), "ResponseFuture(called)"),
        (limiter(Later::default(), 1), "ResponseFuture(checking)"),
    ] {
        let inner: Inner = std::rc::Rc::new(fn_service(|request: ServiceRequest| {
            std::future::ready(Ok(request.into_response(actix_web::HttpResponse::Ok())))
        }));
        let Ok(service) = throttle_of(&limiter).new_transform(inner).await else { panic!() };
        let kept = Kept(service);
        let future = kept.ask();
        assert_eq!(format!("{future:?}"), shown);
        assert_eq!(future.await.unwrap().status().as_u16(), 200);
        assert_eq!(kept.ask().await.unwrap().status().as_u16(), 429);
    }
}

/// Returns an app whose middleware is in a separate function.
fn app_of(
    throttle: RateThrottle,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody>,
        Error = Error,
        InitError = (),
    >,
> {
    App::new().wrap(throttle).default_service(web::to(async || "hello"))
}

#[actix_web::test]
async fn an_app_with_a_throttle_can_be_returned_from_a_function() {
    let throttle = throttle_of(&limiter(MemoryStorage::new(), 1));
    let (one, other) = (app_of(throttle.clone()), app_of(throttle));
    assert_eq!(call(&init_service(one).await, get()).await.status(), 200);
    assert_eq!(call(&init_service(other).await, get()).await.status(), 429);
}

/// The interface of services of any type.
type Boxed = Box<dyn Fn(ServiceRequest) -> Answer>;
type Answer = Pin<Box<dyn Future<Output = Result<ServiceResponse, Error>>>>;

async fn boxed<S, B>(throttle: &RateThrottle, inner: S) -> Boxed
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = Error> + 'static,
    B: MessageBody + 'static,
{
    let Ok(service) = throttle.new_transform(inner).await else { panic!("it never fails") };
    Box::new(move |request| {
        let answer = service.call(request);
        Box::pin(async move { Ok(answer.await?.map_into_boxed_body()) })
    })
}

#[actix_web::test]
async fn services_of_a_throttle_can_be_boxed() {
    let throttle = throttle_of(&limiter(MemoryStorage::new(), 1));
    let gone =
        fn_service(async |request: ServiceRequest| Ok(request.into_response(HttpResponse::Gone())));
    let hello = fn_service(async |request: ServiceRequest| {
        Ok(request.into_response(HttpResponse::Ok().message_body("hello")?))
    });
    let services = [boxed(&throttle, gone).await, boxed(&throttle, hello).await];
    let mut statuses = Vec::new();
    for service in services {
        let request = TestRequest::default().peer_addr(PEER).to_srv_request();
        statuses.push(service(request).await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [410, 429]);
}

#[test]
fn debug_output_of_a_throttle_names_its_rules_and_storage() {
    let shown = format!("{:?}", throttle_of(&limiter(MemoryStorage::new(), 1)));
    assert!(shown.contains("memory") && shown.contains("\"api\""), "{shown}");
}
