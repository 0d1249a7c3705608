//! A real server with workers, and a client that opens a connection for each request.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread,
};

use actix_web::{
    App, Error, HttpServer,
    body::MessageBody,
    dev::{ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse},
    rt,
};

/// The runtime of the server.
#[derive(Copy, Clone, Debug)]
pub enum Runtime {
    /// That of `#[actix_web::main]`.
    System,
    /// That of `#[tokio::main]`.
    Tokio,
    /// That of `#[actix_web::main]`, for clients that use HTTP/2 without TLS.
    SystemOfHttp2,
}

/// A server that stops when it is dropped.
pub struct Server {
    pub addresses: Vec<SocketAddr>,
    handle: ServerHandle,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    /// Serves the app of the factory on several addresses.
    pub fn start<T, B>(
        runtime: Runtime,
        workers: usize,
        listeners: usize,
        factory: impl Fn() -> App<T> + Send + Clone + 'static,
    ) -> Self
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
        let bind = |_| TcpListener::bind("127.0.0.1:0").unwrap();
        let listeners: Vec<_> = (0..listeners).map(bind).collect();
        let addresses = listeners.iter().map(|one| one.local_addr().unwrap()).collect();
        let (sender, receiver) = mpsc::channel();
        let serve = move || async move {
            let mut server = HttpServer::new(factory).workers(workers).disable_signals();
            server = server.h1_allow_half_closed(false); // to notice that a client has disconnected
            server = server.tcp_nodelay(true); // because head and body are separate writes
            let listen = match runtime {
                Runtime::SystemOfHttp2 => HttpServer::listen_auto_h2c,
                _ => HttpServer::listen,
            };
            for listener in listeners {
                server = listen(server, listener).unwrap();
            }
            let server = server.shutdown_timeout(1).run();
            sender.send(server.handle()).unwrap();
            server.await.unwrap();
        };
        let thread = thread::spawn(move || match runtime {
            Runtime::Tokio => {
                let mut tokio = tokio::runtime::Builder::new_multi_thread();
                tokio.worker_threads(1).enable_all().build().unwrap().block_on(serve());
            }
            _ => rt::System::new().block_on(serve()),
        });
        Self { addresses, handle: receiver.recv().unwrap(), thread: Some(thread) }
    }

    /// Requests a path, and reads the response to its end.
    pub fn get(&self, path: &str) -> Answered {
        self.ask(0, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))
    }

    /// Writes a request to one of the listeners, and reads the response to its end.
    pub fn ask(&self, listener: usize, request: &str) -> Answered {
        let mut stream = TcpStream::connect(self.addresses[listener]).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        // An aborted connection may return an error after its last byte.
        let _ = stream.read_to_string(&mut text);
        Answered(text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.handle.stop(false));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The bytes of a response.
#[derive(Debug)]
pub struct Answered(pub String);

impl Answered {
    pub fn status(&self) -> u16 {
        self.0.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
    }

    pub fn head(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or(self.0.as_str(), |(head, _)| head)
    }

    pub fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}
