//! Axum and Actix services that finish their requests when they are stopped, and then their calls to Redis.
//!
//! Run `cargo run --features actix,redis --example graceful_shutdown`, or append `-- actix`, with a Redis on this
//! machine or at `RATETHROTTLE_URL`. Then run `curl http://127.0.0.1:3000/`, and press Ctrl+C within 5 seconds.

use std::{env, error::Error, io, net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use ratethrottle::{Limiter, RateThrottle, RateThrottleLayer, RedisStorage};
use tokio::net::TcpListener;

const ADDRESS: &str = "127.0.0.1:3000";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let url = env::var("RATETHROTTLE_URL").unwrap_or("redis://127.0.0.1:6379/0".to_owned());
    let limiter = Limiter::new(RedisStorage::connect(&url).await?);
    println!("listening on http://{ADDRESS}; each response takes 5 seconds");
    match env::args().nth(1).as_deref() {
        Some("actix") => {
            let listener = std::net::TcpListener::bind(ADDRESS)?;
            // Actix itself handles SIGTERM and Ctrl+C.
            run_actix(listener, &limiter, std::future::pending()).await?;
        }
        _ => {
            let stop = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
            run_axum(TcpListener::bind(ADDRESS).await?, &limiter, stop).await?;
        }
    }
    // Now no request is in flight.
    let is_complete = limiter.shutdown(Duration::from_secs(5)).await;
    println!("all permits are released: {is_complete}");
    Ok(())
}

async fn run_axum(
    listener: TcpListener,
    limiter: &Limiter,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Box<dyn Error>> {
    let layer = RateThrottleLayer::new(limiter).concurrency(limiter.concurrency("slow", 2)?);
    let app = Router::new().route("/", get(slow)).layer(layer.build()?);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

async fn run_actix(
    listener: std::net::TcpListener,
    limiter: &Limiter,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<(), Box<dyn Error>> {
    use actix_web::{App, HttpServer, web};

    let throttle = RateThrottle::new(limiter).concurrency(limiter.concurrency("slow", 2)?);
    let throttle = throttle.build()?;
    let app = move || App::new().wrap(throttle.clone()).route("/", web::get().to(slow));
    let server = HttpServer::new(app).workers(2).listen(listener)?.run();
    let handle = server.handle();
    tokio::spawn(async move {
        stop.await;
        handle.stop(true).await; // gracefully
    });
    server.await.map_err(io::Error::into)
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(5)).await;
    "done\n"
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use throttle_testbed::Server;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::oneshot,
    };

    use super::*;

    type Running<'a> = Pin<Box<dyn Future<Output = Result<(), Box<dyn Error>>> + 'a>>;

    /// Stops a server while a request is in flight, which still gets its response.
    async fn leaves_no_permit(
        run: impl for<'a> FnOnce(
            std::net::TcpListener,
            &'a Limiter,
            oneshot::Receiver<()>,
        ) -> Running<'a>,
    ) {
        let redis = Server::start();
        let limiter = Limiter::new(RedisStorage::connect(&redis.url()).await.unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let in_use = limiter.concurrency("slow", 2).unwrap();
        let client = async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            while in_use.in_use("127.0.0.1").await.unwrap() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stop.send(()).unwrap();
            let mut response = String::new();
            stream.read_to_string(&mut response).await.unwrap();
            assert!(
                response.starts_with("HTTP/1.1 200") && response.contains("done"),
                "{response}"
            );
        };
        let (served, ()) = tokio::join!(run(listener, &limiter, stopped), client);
        served.unwrap();
        assert!(limiter.shutdown(Duration::from_secs(60)).await);
        assert_eq!(redis.command(&["DBSIZE"]).integer(), 0);
    }

    #[tokio::test]
    async fn axum_leaves_no_permit() {
        leaves_no_permit(|listener, limiter, stopped| {
            Box::pin(async move {
                let listener = TcpListener::from_std(listener)?;
                run_axum(listener, limiter, async { _ = stopped.await }).await
            })
        })
        .await;
    }

    #[tokio::test]
    async fn actix_leaves_no_permit() {
        leaves_no_permit(|listener, limiter, stopped| {
            Box::pin(async move { run_actix(listener, limiter, async { _ = stopped.await }).await })
        })
        .await;
    }
}
