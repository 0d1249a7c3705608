//! A token budget for each API key of a language model service.
//!
//! A request is charged an estimate before the model is called. When the response has been sent, the estimate is
//! reconciled with the actual number of tokens.
//!
//! Run `cargo run --example llm_budget`, then for example
//! `curl -iN -H 'x-api-key: demo' -H 'x-max-tokens: 200' -d 'tell me a story' http://127.0.0.1:3000/chat`.

use std::{
    convert::Infallible,
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Extension, Router, body::Body, routing::post};
use futures_core::Stream;
use ratethrottle::{
    Algorithm, Header, Limiter, MemoryStorage, RateThrottleLayer, RequestHead, Rule,
    options::ActualCost,
};
use tokio::{sync::mpsc, time::sleep};

const TOKENS_PER_MINUTE: u64 = 1_000;
/// The maximum length of a response if the client does not limit it.
const MAX_TOKENS: u64 = 500;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://127.0.0.1:3000/chat");
    axum::serve(listener, app(Duration::from_millis(50))?).await?;
    Ok(())
}

/// Creates the service. The model generates one word per `pace`.
fn app(pace: Duration) -> Result<Router, Box<dyn Error>> {
    let limiter = Limiter::new(MemoryStorage::new());
    let budget = Rule::per_minute("tokens", TOKENS_PER_MINUTE).algorithm(Algorithm::TokenBucket);
    limiter.add_rule(budget)?;
    let layer = RateThrottleLayer::new(&limiter)
        .key(Header::new("x-api-key"))
        .cost(estimate)
        .charge_actual()
        .build()?;
    let chat = async move |Extension(cost): Extension<ActualCost>, prompt: String| {
        Body::from_stream(Completion(call_model(prompt, pace), cost))
    };
    Ok(Router::new().route("/chat", post(chat).layer(layer)))
}

/// Returns the most tokens that the request can use: about one for four bytes of the prompt, and the maximum
/// length of the response.
fn estimate(head: &RequestHead<'_>) -> u64 {
    let number = |name| head.header(name).and_then(|value| value.parse::<u64>().ok());
    let prompt = number("content-length").unwrap_or(0) / 4;
    prompt.saturating_add(number("x-max-tokens").unwrap_or(MAX_TOKENS)).max(1)
}

/// The words of the model, with the number of tokens that each used.
type Words = mpsc::Receiver<(String, u64)>;

/// Simulates a remote model. It stops when the receiver is dropped.
fn call_model(prompt: String, pace: Duration) -> Words {
    let (sender, words) = mpsc::channel(1);
    tokio::spawn(async move {
        let prompt_tokens = prompt.len() as u64 / 4;
        let mut tokens = prompt_tokens; // reported with the first word
        for word in ["once ", "upon ", "a ", "time\n"] {
            if sender.send((word.to_owned(), tokens + 1)).await.is_err() {
                return;
            }
            tokens = 0;
            sleep(pace).await;
        }
    });
    words
}

/// The response body, which reports its cost while it is sent.
///
/// A client that disconnects early is charged only for the words that it received.
struct Completion(Words, ActualCost);

impl Stream for Completion {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self(words, cost) = &mut *self;
        words.poll_recv(cx).map(|next| {
            let (word, tokens) = next?;
            cost.add(tokens);
            Some(Ok(word))
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::{body::to_bytes, http::Request, response::Response};
    use tower::ServiceExt;

    use super::*;

    async fn ask(app: &Router, max_tokens: &str) -> Response {
        let request = Request::post("/chat").header("x-api-key", "k").header("content-length", 12);
        let request = request.header("x-max-tokens", max_tokens).body(Body::from("twelve bytes"));
        app.clone().oneshot(request.unwrap()).await.unwrap()
    }

    fn remaining(response: &Response) -> u64 {
        let field = response.headers()["ratelimit"].to_str().unwrap();
        field.split(['=', ';']).nth(2).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn a_complete_response_is_charged_its_actual_tokens() {
        let app = app(Duration::ZERO).unwrap();
        let first = ask(&app, "600").await;
        assert_eq!((first.status().as_u16(), remaining(&first)), (200, 1_000 - 603));
        let rejected = ask(&app, "600").await;
        assert_eq!(rejected.status(), 429, "the estimate of the first request is charged");
        let body = to_bytes(first.into_body(), 1 << 20).await.unwrap();
        assert_eq!(body, "once upon a time\n");
        // Three tokens for the prompt and four for the words; the bucket may have refilled a little.
        let second = ask(&app, "600").await;
        assert_eq!(second.status(), 200);
        assert!(
            (1_000 - 7 - 603..1_000 - 603).contains(&remaining(&second)),
            "{}",
            remaining(&second)
        );
    }

    #[tokio::test]
    async fn a_client_that_disconnects_is_charged_for_the_words_it_received() {
        let app = app(Duration::from_secs(600)).unwrap();
        let first = ask(&app, "900").await;
        let mut body = first.into_body();
        let frame =
            std::future::poll_fn(|cx| axum::body::HttpBody::poll_frame(Pin::new(&mut body), cx));
        assert_eq!(frame.await.unwrap().unwrap().into_data().unwrap(), "once ");
        drop(body);
        assert_eq!(
            ask(&app, "900").await.status(),
            200,
            "four tokens are charged, not nine hundred"
        );
    }
}
