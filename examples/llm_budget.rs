//! A budget of tokens for each API key, in front of a language model: a request is charged an estimate
//! before the model is asked, and settled to what the answer took when the last of it has been sent.
//!
//! `cargo run --example llm_budget`, then for instance
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
/// What a client may ask for that does not say how long the answer may be.
const MAX_TOKENS: u64 = 500;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt::init();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on http://127.0.0.1:3000/chat");
    axum::serve(listener, app(Duration::from_millis(50))?).await?;
    Ok(())
}

/// The model says a word once in so long.
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
        Body::from_stream(Answer(ask_model(prompt, pace), cost))
    };
    Ok(Router::new().route("/chat", post(chat).layer(layer)))
}

/// Reserves the most that the request can take: about a token for four bytes of the prompt, and as many
/// as the client lets the answer have.
fn estimate(head: &RequestHead<'_>) -> u64 {
    let number = |name| head.header(name).and_then(|value| value.parse::<u64>().ok());
    let prompt = number("content-length").unwrap_or(0) / 4;
    prompt.saturating_add(number("x-max-tokens").unwrap_or(MAX_TOKENS)).max(1)
}

/// What the model says, and how many tokens that took.
type Words = mpsc::Receiver<(String, u64)>;

/// Stands for a model that is far away. It stops when nobody listens any more.
fn ask_model(prompt: String, pace: Duration) -> Words {
    let (sender, words) = mpsc::channel(1);
    tokio::spawn(async move {
        let read = prompt.len() as u64 / 4;
        let mut tokens = read; // those of the prompt come with the first word
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

/// The body of the answer, which says what it costs while it is sent: a client that goes away in the
/// middle pays for what it got.
struct Answer(Words, ActualCost);

impl Stream for Answer {
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

    fn left(response: &Response) -> u64 {
        let field = response.headers()["ratelimit"].to_str().unwrap();
        field.split(['=', ';']).nth(2).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn an_answer_that_is_read_to_its_end_costs_what_it_took() {
        let app = app(Duration::ZERO).unwrap();
        let first = ask(&app, "600").await;
        assert_eq!((first.status().as_u16(), left(&first)), (200, 1_000 - 603));
        let refused = ask(&app, "600").await;
        assert_eq!(refused.status(), 429, "so much is reserved already");
        let body = to_bytes(first.into_body(), 1 << 20).await.unwrap();
        assert_eq!(body, "once upon a time\n");
        // Three tokens for the prompt and one for each word; some may be refilled meanwhile.
        let second = ask(&app, "600").await;
        assert_eq!(second.status(), 200);
        assert!((1_000 - 7 - 603..1_000 - 603).contains(&left(&second)), "{}", left(&second));
    }

    #[tokio::test]
    async fn a_client_that_goes_away_pays_for_what_it_got() {
        let app = app(Duration::from_secs(600)).unwrap();
        let first = ask(&app, "900").await;
        let mut body = first.into_body();
        let frame =
            std::future::poll_fn(|cx| axum::body::HttpBody::poll_frame(Pin::new(&mut body), cx));
        assert_eq!(frame.await.unwrap().unwrap().into_data().unwrap(), "once ");
        drop(body);
        assert_eq!(ask(&app, "900").await.status(), 200, "four tokens, not nine hundred");
    }
}
