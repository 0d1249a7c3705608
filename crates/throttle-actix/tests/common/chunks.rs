//! A body that a test sends piece by piece, and one that a test reads piece by piece.

use std::{
    error::Error,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    dev::{Service, ServiceResponse},
};
use bytes::Bytes;
use http::Request;
use tokio::sync::mpsc;

pub type Sender = mpsc::UnboundedSender<Result<Bytes, std::io::Error>>;

/// Yields what is sent to it, and ends when the sender is dropped.
pub struct Chunks(mpsc::UnboundedReceiver<Result<Bytes, std::io::Error>>);

impl Chunks {
    pub fn new() -> (Sender, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (sender, Self(receiver))
    }
}

impl MessageBody for Chunks {
    type Error = std::io::Error;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, std::io::Error>>> {
        self.0.poll_recv(cx)
    }
}

/// Is a response whose body is being read.
pub struct Begun {
    pub status: u16,
    pub fields: http::HeaderMap,
    pub body: BoxBody,
}

impl Begun {
    /// Hands a request to an app, and reads no more than the head of the response.
    pub async fn by<S, B>(service: &S, request: Request<Bytes>) -> Self
    where
        S: Service<actix_http::Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
        B: MessageBody + 'static,
    {
        let response = service.call(super::to_actix(request)).await;
        let Ok(response) = response else { panic!("the service failed") };
        let mut fields = http::HeaderMap::new();
        for (name, value) in response.headers() {
            let name = http::HeaderName::from_bytes(name.as_str().as_bytes()).unwrap();
            fields.append(name, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let (_, response) = response.map_into_boxed_body().into_parts();
        Self { status: response.status().as_u16(), fields, body: response.into_body() }
    }

    /// Reads the next piece.
    pub async fn next(&mut self) -> Option<Result<Bytes, Box<dyn Error>>> {
        poll_fn(|cx| self.body.as_pin_mut().poll_next(cx)).await
    }

    /// Reads all that is left.
    pub async fn rest(mut self) -> String {
        let mut rest = Vec::new();
        while let Some(chunk) = self.next().await {
            rest.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(rest).unwrap()
    }

    #[track_caller]
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("there is no {name}")).to_str().unwrap()
    }
}
