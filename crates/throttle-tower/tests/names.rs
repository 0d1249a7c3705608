//! The names and bounds of the layer, its service and its future.
#![cfg(all(feature = "axum", feature = "memory"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod common;

use std::{convert::Infallible, future::Future, sync::Arc};

use axum::{Router, body::Body, routing::get as on_get};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use throttle_core::{Limiter, Rule, Storage};
use throttle_memory::MemoryStorage;
use throttle_tower::{RateThrottleLayer, RateThrottleService, ResponseBody, ResponseFuture};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

use common::{Later, get, get_plain, limiter};

/// The state of a program that keeps a layer.
#[derive(Clone, Debug)]
struct State {
    limiter: Limiter,
    layer: RateThrottleLayer,
}

fn layer_of(limiter: &Limiter) -> RateThrottleLayer {
    RateThrottleLayer::new(limiter).rule("api")
}

fn is_shared<T: Send + Sync + Clone + 'static>() {}

fn is_sent<T: Send>(value: T) -> T {
    value
}

#[tokio::test]
async fn a_layer_can_be_kept_in_a_field_and_returned_from_a_function() {
    let limiter = limiter(MemoryStorage::new(), 1);
    let state = State { layer: layer_of(&limiter), limiter };
    let kept = state.clone();
    let app: Router = Router::new()
        .route("/", on_get(|| async {}).layer(kept.layer.clone()))
        .route("/other", on_get(|| async {}).layer(kept.layer));
    let response = app.clone().oneshot(get()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut other = get();
    *other.uri_mut() = "/other".parse().unwrap();
    let response = app.oneshot(other).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "clones share one limiter");
    assert_eq!(state.limiter.metrics().total, 2);
}

#[test]
fn a_layer_can_be_kept_in_a_static() {
    static LAYER: std::sync::OnceLock<RateThrottleLayer> = std::sync::OnceLock::new();
    LAYER.get_or_init(|| RateThrottleLayer::new(Rule::per_minute("api", 1)));
}

#[test]
fn layer_service_and_body_are_shared_between_threads() {
    #[derive(Clone)]
    struct Inner;
    is_shared::<RateThrottleLayer>();
    is_shared::<RateThrottleService<Inner>>();
    is_sent(std::marker::PhantomData::<ResponseBody<Body>>);
}

/// A service with only the bounds that axum requires: its futures are `Send`, but not `Sync`.
#[derive(Clone)]
struct Hello;

impl Service<Request<Full<Bytes>>> for Hello {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future =
        std::pin::Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        Box::pin(async { Ok(Response::new(Full::from("hello"))) })
    }
}

/// A program that names the service and the future.
struct Server {
    service: RateThrottleService<Hello>,
}

impl Server {
    fn ask(&mut self) -> ResponseFuture<Hello, Full<Bytes>, Full<Bytes>> {
        self.service.call(get_plain())
    }
}

#[tokio::test]
async fn the_future_of_a_request_can_be_spawned_on_both_paths() {
    for layer in [
        RateThrottleLayer::new(limiter(MemoryStorage::new(), 1)),
        RateThrottleLayer::new(limiter(Later::default(), 1)),
    ] {
        let mut server = Server { service: layer.layer(Hello) };
        let Ok(response) = tokio::spawn(is_sent(server.ask())).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let Ok(response) = tokio::spawn(is_sent(server.ask())).await.unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}

#[tokio::test]
async fn clones_of_a_service_share_one_limit() {
    let inner = service_fn(|_: Request<Full<Bytes>>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let service = RateThrottleLayer::new(limiter(MemoryStorage::new(), 1)).layer(inner);
    let Ok(response) = service.clone().oneshot(get_plain()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let Ok(response) = service.oneshot(get_plain()).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_layer_is_created_from_a_limiter_behind_a_pointer_and_any_storage() {
    let boxed: Box<dyn Storage> = Box::new(Later::default());
    let storages: [Arc<dyn Storage>; 2] = [Arc::new(MemoryStorage::new()), Arc::from(boxed)];
    for storage in storages {
        let limiter = Arc::new(limiter(storage, 2));
        let layers = [RateThrottleLayer::new(&limiter), RateThrottleLayer::new(limiter)];
        let [one, other] = layers.map(|layer| layer.layer(Hello));
        let statuses = [
            one.clone().oneshot(get_plain()).await.unwrap().status(),
            other.oneshot(get_plain()).await.unwrap().status(),
            one.oneshot(get_plain()).await.unwrap().status(),
        ];
        assert_eq!(statuses.map(|status| status.as_u16()), [200, 200, 429]);
    }
}

/// Services of different types, behind one type.
type Boxed = BoxCloneSyncService<Request<Full<Bytes>>, Response<Body>, Infallible>;

fn boxed<S>(layer: &RateThrottleLayer, inner: S) -> Boxed
where
    S: Service<Request<Full<Bytes>>, Response = Response<Full<Bytes>>, Error = Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let layers =
        ServiceBuilder::new().map_response(|response: Response<_>| response.map(Body::new));
    BoxCloneSyncService::new(layers.layer(layer).service(inner))
}

#[tokio::test]
async fn services_of_a_layer_can_be_boxed() {
    let layer = layer_of(&limiter(MemoryStorage::new(), 1));
    let gone =
        service_fn(async |_| Ok(Response::builder().status(410).body(Full::default()).unwrap()));
    let services = [boxed(&layer, gone), boxed(&layer, Hello)];
    let mut statuses = Vec::new();
    for service in services {
        let Ok(response) = service.oneshot(get_plain()).await;
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [410, 429]);
}

#[test]
fn debug_output_of_a_layer_names_its_rules_and_storage() {
    let shown = format!("{:?}", layer_of(&limiter(MemoryStorage::new(), 1)));
    assert!(shown.contains("memory") && shown.contains("\"api\""), "{shown}");
    let service = format!("{:?}", layer_of(&limiter(MemoryStorage::new(), 1)).layer(1));
    assert!(service.contains("RateThrottleService"), "{service}");
    let mut service = layer_of(&limiter(Later::default(), 1)).layer(Hello);
    assert_eq!(format!("{:?}", service.call(get_plain())), "ResponseFuture(checking)");
}
