//! Axum and Actix servers on loopback, which stop when they are dropped.

use std::{
    future::Future,
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
};

use axum::{Router, routing::get};
use ratethrottle::{RateThrottle, RateThrottleLayer};

/// Responds to every request.
pub(crate) async fn hello() -> &'static str {
    "hello"
}

/// A server in its own thread.
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    stop: Option<Box<dyn FnOnce() + Send>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    pub(crate) fn axum(layer: RateThrottleLayer) -> Self {
        Self::axum_with(layer, hello)
    }

    pub(crate) fn axum_with<F, Fut>(layer: RateThrottleLayer, handler: F) -> Self
    where
        F: Fn() -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = &'static str> + Send + 'static,
    {
        Self::axum_app(Router::new().route("/", get(handler)).layer(layer.build().unwrap()))
    }

    pub(crate) fn axum_app(app: Router) -> Self {
        let service = app.into_make_service_with_connect_info::<SocketAddr>();
        let (listener, address) = listen();
        listener.set_nonblocking(true).unwrap();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread();
            let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = async { axum::serve(listener, service).await } => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        let stop = Box::new(move || drop(stop));
        Self { name: "axum", address, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn actix(throttle: RateThrottle) -> Self {
        Self::actix_with(throttle, hello)
    }

    pub(crate) fn actix_with<F, Fut>(throttle: RateThrottle, handler: F) -> Self
    where
        F: Fn() -> Fut + Clone + Send + Sync + 'static,
        Fut: Future<Output = &'static str> + 'static,
    {
        use actix_web::web;

        let throttle = throttle.build().unwrap();
        Self::actix_app(move |app| {
            let scope = web::scope("").wrap(throttle.clone());
            app.service(scope.route("/", web::get().to(handler.clone())));
        })
    }

    pub(crate) fn actix_app(
        configure: impl Fn(&mut actix_web::web::ServiceConfig) + Clone + Send + 'static,
    ) -> Self {
        use actix_web::{App, HttpServer, rt::System};

        let (listener, address) = listen();
        let (sender, receiver) = mpsc::channel();
        let thread = thread::spawn(move || {
            System::new().block_on(async {
                let app = move || App::new().configure(configure.clone());
                let server = HttpServer::new(app).workers(2).disable_signals();
                let server = server.h1_allow_half_closed(false); // detects clients that disconnect
                let server = server.shutdown_timeout(0).listen(listener).unwrap().run();
                sender.send(server.handle()).unwrap();
                server.await.unwrap();
            });
        });
        let handle = receiver.recv().unwrap();
        let stop = Box::new(move || drop(handle.stop(false)));
        Self { name: "actix", address, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
