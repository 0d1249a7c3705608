//! The time that a throttle adds to a request of Actix: an app called in process, 10,000 clients,
//! no network.
//!
//! The peer uses fixed windows; its rejections have no body.

use std::{
    hint::black_box,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use actix_extensible_rate_limit::{
    RateLimiter,
    backend::{
        SimpleInputFunctionBuilder, SimpleInputFuture, SimpleOutput, memory::InMemoryBackend,
    },
};
use actix_web::{
    App, Error, Route,
    dev::{Service, ServiceFactory, ServiceRequest, ServiceResponse},
    rt::System,
    test::init_service,
    web,
};
use throttle_actix::RateThrottle;
use throttle_core::{Algorithm, Rule};

use crate::harness::{Variant, median, now, run_alternately};

const KEYS: u32 = 10_000;
const ROUNDS: usize = 41;
const HEADER: (&str, &str) = ("user-agent", "curl/8.14.1");

pub(crate) fn run() {
    println!("\nactix: nanoseconds added to a request, with header fields, {KEYS} clients");
    println!("| scenario | actix-extensible-rate-limit | RateThrottle | ratio |");
    println!("| --- | --- | --- | --- |");
    let system = System::new();
    system.block_on(async {
        let fixed = |rule: Rule| rule.algorithm(Algorithm::FixedWindow);
        let peer = || peer(1_000_000_000);
        let allowed = || Rule::per_day("api", 1_000_000_000);
        table("allowed, fixed window", 20_000, 200, peer().await, ours(fixed(allowed())).await);
        table("allowed, sliding counter", 20_000, 200, peer().await, ours(allowed()).await);
        let rejected = fixed(Rule::per_day("api", 1));
        table("rejected, fixed window", 5_000, 429, self::peer(1).await, ours(rejected).await);
    });
}

/// Sends one client's request and returns the status.
type Send = Box<dyn Fn(u32) -> u16>;

fn table(name: &str, times: usize, expected: u16, peer: Send, ours: Send) {
    let bare = now(bare());
    for send in [&peer, &ours] {
        (0..2 * KEYS).for_each(|i| {
            send(i);
        }); // with a limit of one, later requests are rejected
        assert_eq!(send(0), expected, "{name}");
    }
    let senders = [bare, peer, ours];
    let mut variants: Vec<_> = senders
        .iter()
        .map(|send| {
            Variant::new(name, |i| {
                black_box(send(i as u32));
            })
        })
        .collect();
    let taken = run_alternately(&mut variants, ROUNDS, times);
    let added =
        |of: &[f64]| median(of.iter().zip(&taken[0]).map(|(one, bare)| one - bare).collect());
    let (peer, ours) = (added(&taken[1]), added(&taken[2]));
    println!("| {name} | +{peer:.0} | +{ours:.0} | {:.2} |", ours / peer);
}

async fn bare() -> Send {
    sender(App::new()).await
}

async fn ours(rule: Rule) -> Send {
    sender(App::new().wrap(RateThrottle::new(rule))).await
}

async fn peer(limit: u64) -> Send {
    let backend = InMemoryBackend::builder().with_gc_interval(None).build();
    sender(App::new().wrap(extensible(backend, limit))).await
}

/// Creates the peer's limit, in windows of a day.
pub(crate) fn extensible(
    backend: InMemoryBackend,
    limit: u64,
) -> RateLimiter<
    InMemoryBackend,
    SimpleOutput,
    impl Fn(&ServiceRequest) -> SimpleInputFuture + 'static,
> {
    let input = SimpleInputFunctionBuilder::new(Duration::from_secs(86_400), limit).peer_ip_key();
    RateLimiter::builder(backend, input.build()).add_headers().build()
}

pub(crate) fn hello() -> Route {
    web::get().to(async || "hello")
}

async fn sender<T, B>(app: App<T>) -> Send
where
    T: ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    B: actix_web::body::MessageBody + 'static,
{
    let service = init_service(app.route("/", hello())).await;
    Box::new(move |client| {
        // A step coprime to the number of clients, so that consecutive requests are of distant
        // clients.
        let address = Ipv4Addr::from_bits(0x0a00_0000 + client.wrapping_mul(7_919) % KEYS);
        let mut request = actix_http::Request::new();
        let head = request.head_mut();
        head.peer_addr = Some(SocketAddr::new(IpAddr::V4(address), 1));
        let (name, value) = HEADER;
        let value = actix_web::http::header::HeaderValue::from_static(value);
        head.headers.insert(actix_web::http::header::HeaderName::from_static(name), value);
        now(service.call(request)).map_or(0, |response| response.status().as_u16())
    })
}
