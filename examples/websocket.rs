//! Limits for long-lived connections: WebSockets and server-sent events.
//!
//! Each client may have two connections, and may send one message per second, with a burst of five.
//!
//! Run `cargo run --features websocket --example websocket`, then for example
//! `curl -N http://127.0.0.1:3000/events` in three terminals.

use std::{
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::{
        ConnectInfo,
        ws::{Message, WebSocket, WebSocketUpgrade},
    },
    response::{
        Response,
        sse::{Event, Sse},
    },
    routing::get,
};
use futures_core::Stream;
use ratethrottle::{
    Algorithm, Key, Limiter, MemoryStorage, RateThrottleLayer, Rule, concurrency::InFlight,
};
use tokio::time::{Interval, interval};

const CONNECTIONS: u64 = 2;
/// The prefix by which IPv6 clients are counted, the same as in the layer.
const IPV6_PREFIX: u8 = 64;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on 127.0.0.1:3000: ws://127.0.0.1:3000/ws, http://127.0.0.1:3000/events");
    axum::serve(listener, app()?.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

fn app() -> Result<Router, Box<dyn Error>> {
    let limiter = Limiter::new(MemoryStorage::new());
    let messages = Rule::per_second("messages", 1).algorithm(Algorithm::TokenBucket).burst(5);
    limiter.add_rule(messages)?;
    // The layer limits only connections. The handler checks the rule for each message.
    let connections = limiter.concurrency("connections", CONNECTIONS)?;
    let layer = RateThrottleLayer::new(&limiter).concurrency(connections).build()?;
    Ok(Router::new()
        .route("/ws", get(upgrade))
        .route("/events", get(events))
        .layer(layer)
        .layer(Extension(limiter)))
}

async fn upgrade(
    ws: WebSocketUpgrade,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Extension(limiter): Extension<Limiter>,
    Extension(in_flight): Extension<InFlight>,
) -> Response {
    // The response ends with the upgrade, so the permit is kept until the connection ends. It is also released
    // if the upgrade fails.
    let permit = in_flight.keep();
    ws.on_upgrade(async move |socket| {
        chat(socket, &limiter, &Key::network(peer.ip(), IPV6_PREFIX)).await;
        drop(permit);
    })
}

/// Echoes messages within the limit, and rejects others.
async fn chat(mut socket: WebSocket, limiter: &Limiter, client: &Key<'_>) {
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Text(text) = message else { continue };
        let answer = match limiter.check(client, "messages").await {
            Ok(decision) if decision.is_allowed() => text,
            Ok(decision) => {
                let wait = decision.retry_after().unwrap_or_default();
                format!("too many messages: try again in {} ms", wait.as_millis() + 1).into()
            }
            Err(error) => {
                eprintln!("allowing a message, because the storage failed: {error}");
                text
            }
        };
        if socket.send(Message::Text(answer)).await.is_err() {
            return;
        }
    }
}

/// Streams events. The permit is released when the response body ends.
async fn events() -> Sse<Ticks> {
    Sse::new(Ticks { interval: interval(Duration::from_secs(1)), number: 0 })
}

/// A stream of seconds.
struct Ticks {
    interval: Interval,
    number: u64,
}

impl Stream for Ticks {
    type Item = Result<Event, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        ready!(self.interval.poll_tick(cx));
        self.number += 1;
        Poll::Ready(Some(Ok(Event::default().data(self.number.to_string()))))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    async fn serve() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = app().unwrap().into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async { axum::serve(listener, service).await });
        address
    }

    /// Sends a request over a new connection, and returns the status.
    async fn ask(server: SocketAddr, path: &str, fields: &str) -> (u16, TcpStream) {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: h\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), stream)
    }

    async fn open(server: SocketAddr) -> (u16, TcpStream) {
        // The key is that of RFC 6455, section 1.3.
        let fields = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                      sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        ask(server, "/ws", fields).await
    }

    /// Sends a short text, masked as the protocol requires, and returns the answer.
    async fn send(stream: &mut TcpStream, text: &str) -> String {
        let mut frame = vec![0x81, 0x80 | text.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(text.as_bytes());
        stream.write_all(&frame).await.unwrap();
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.unwrap();
        let mut answer = vec![0; usize::from(head[1])];
        stream.read_exact(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Repeats a request until the server has noticed that a connection was closed.
    async fn until(status: u16, ask: impl AsyncFn() -> (u16, TcpStream)) -> TcpStream {
        for _ in 0..500 {
            match ask().await {
                (answer, stream) if answer == status => return stream,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
        panic!("never got the status {status}")
    }

    #[tokio::test]
    async fn an_upgraded_connection_holds_its_permit_until_it_is_closed() {
        let server = serve().await;
        let (status, mut first) = open(server).await;
        assert_eq!((status, send(&mut first, "hello").await), (101, "hello".to_owned()));
        let (status, second) = open(server).await;
        assert_eq!(status, 101);
        assert_eq!(
            open(server).await.0,
            429,
            "a connection must hold its permit after the response"
        );
        assert_eq!(
            ask(server, "/events", "").await.0,
            429,
            "events and WebSockets share the limit"
        );
        drop(second);
        until(101, async || open(server).await).await;
        assert_eq!(send(&mut first, "still here").await, "still here");
    }

    #[tokio::test]
    async fn an_event_stream_holds_its_permit_until_it_is_closed() {
        let server = serve().await;
        let (first, second) = (ask(server, "/events", "").await, ask(server, "/events", "").await);
        assert_eq!((first.0, second.0, ask(server, "/events", "").await.0), (200, 200, 429));
        drop(first);
        until(200, async || ask(server, "/events", "").await).await;
    }

    #[tokio::test]
    async fn a_failed_upgrade_holds_no_permit() {
        let server = serve().await;
        for _ in 0..2 * CONNECTIONS {
            assert_eq!(ask(server, "/ws", "").await.0, 400);
        }
        assert_eq!(open(server).await.0, 101);
    }

    #[tokio::test]
    async fn too_many_messages_are_rejected_and_the_connection_stays_open() {
        let server = serve().await;
        let (_, mut stream) = open(server).await;
        let mut answers = Vec::new();
        for _ in 0..8 {
            answers.push(send(&mut stream, "hi").await);
        }
        assert!(answers[..5].iter().all(|answer| answer == "hi"), "{answers:?}");
        assert!(
            answers.iter().any(|answer| answer.starts_with("too many messages")),
            "{answers:?}"
        );
    }
}
