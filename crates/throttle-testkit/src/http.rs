//! The suite that every adapter passes.
//!
//! An [`Adapter`] provides three methods: how a service is made of layers and a handler, how it is called, and,
//! where it can be, how it is served on a socket. Its documentation has a whole adapter with its test. [`run`]
//! does the rest. It begins with the steps of an adapter, one by one, so that what fails says which step is
//! missing. Then it goes on, over a storage that answers at once and over one that answers later:
//!
//! - a table of cases, whose answers are compared to the byte: header fields, problem details, gRPC
//! - layers around each other
//! - charges that depend on the response, estimates that are reconciled, requests that wait
//! - paths that are spelled in another way: [`spellings`]
//! - requests in flight: when a permit is held, and when it is released
//! - functions, handlers, bodies and storages that panic, and storages that fail
//! - what is an error when a layer is built, what is answered with 500 where it is not, and what is logged
//! - what handlers and outer layers find in extensions
//! - over sockets, by HTTP/1.1 and HTTP/2: the table again, and requests that are written byte by byte
//!
//! A client may leave at any moment: scenarios drop futures and bodies after every number of polls.
//!
//! What an adapter does not offer is no failure: [`Report::unchecked`] names it. Compare it to what you mean to
//! leave out, so that a route or an address that is forgotten is noticed:
//!
//! | entry | how it is offered |
//! | --- | --- |
//! | `a layer of a rule alone` | [`Layer::source`] may be a rule: make a limiter for it by [`LimitSource::into_limiter`](throttle_http::LimitSource::into_limiter) |
//! | `a layer that is not built` | see [`Layer::is_built`] |
//! | `routes` | the service has the route `/users/{id}`, and the limit is told its pattern, as the framework writes it, by [`RequestHead::with_route`](throttle_http::RequestHead::with_route) or [`RequestView::route`](throttle_http::RequestView::route) |
//! | `HTTP/1.1 over sockets`, `HTTP/2 over sockets` | [`Adapter::serve`] |
//!
//! [`break_connections`] is a test of its own, for a program that counts its allocations.

mod adapter;
mod answer;
mod body;
mod case;
mod cases;
mod config;
mod extensions;
mod failures;
mod fixture;
mod following;
mod handler;
mod in_flight;
mod lookups;
mod mistakes;
mod once;
mod options;
mod panics;
mod paths;
mod run;
mod settling;
mod sockets;
mod spellings;
mod steps;
mod table;
mod warnings;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use http::Version;
use throttle_core::Rule;
use throttle_http::Options;
use throttle_memory::MemoryStorage;
use tokio::sync::Mutex;

pub use self::{
    adapter::{Adapter, Layer, Server},
    body::{Body, Reader},
    handler::Handler,
    run::Report,
    sockets::{PEER, break_connections, peer},
    spellings::spellings,
};
use self::{
    fixture::{Answers, Fixture, Limits},
    run::Run,
    sockets::Wired,
};

const STORAGES: [(Answers, &str); 2] = [(Answers::AtOnce, "at once"), (Answers::Later, "later")];
const VERSIONS: [(Version, &str); 2] =
    [(Version::HTTP_11, "HTTP/1.1 over sockets"), (Version::HTTP_2, "HTTP/2 over sockets")];

/// Runs every scenario against an adapter, in a tokio runtime with time and I/O.
///
/// What is logged once in a process is checked by the first run of the process: keep the suite in a test program
/// of its own.
///
/// # Panics
///
/// When scenarios fail: at the end, with the name of each and why it fails. The last panic that is printed has
/// them all; those before it are the single scenarios. If one of the steps fails, nothing else is run.
pub async fn run<A: Adapter>(adapter: A) -> Report {
    run_part(adapter, "").await
}

/// As [`run`], with the scenarios whose name contains `part`, such as `steps` or `in flight, at once`.
///
/// # Panics
///
/// As [`run`].
pub async fn run_part<A: Adapter>(adapter: A, part: &str) -> Report {
    // Some of what is logged is counted by the process.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _one = ONE_AT_A_TIME.lock().await;
    let run = Run::new(part);
    steps(&run, &adapter).await;
    if !run.is_clean() {
        return run.finish("Begin with the first: nothing else is run before these steps pass.\n");
    }
    in_process(&run, &adapter).await;
    over_sockets(&run, &adapter).await;
    run.finish("")
}

async fn steps<A: Adapter>(run: &Run<'_>, adapter: &A) {
    let storage = Answers::AtOnce;
    Fixture { run, adapter, storage, about: "in this process" }.steps().await;
    for (version, about) in VERSIONS {
        if serves(adapter, version).await {
            let wired = Wired { adapter, version };
            Fixture { run, adapter: &wired, storage, about }.steps_on_the_wire().await;
        }
    }
}

async fn in_process<A: Adapter>(run: &Run<'_>, adapter: &A) {
    static WAS_RUN: AtomicBool = AtomicBool::new(false);
    for (storage, about) in STORAGES {
        let fixture = Fixture { run, adapter, storage, about };
        if !WAS_RUN.swap(true, SeqCst) {
            fixture.once().await;
        }
        fixture.table().await;
        fixture.following().await;
        fixture.settling().await;
        fixture.in_flight().await;
        fixture.panics().await;
        fixture.failures().await;
        fixture.lookups().await;
        fixture.mistakes().await;
        fixture.config().await;
        fixture.warnings().await;
        fixture.options().await;
        fixture.paths().await;
        fixture.extensions().await;
    }
}

async fn over_sockets<A: Adapter>(run: &Run<'_>, adapter: &A) {
    for (version, about) in VERSIONS {
        if !serves(adapter, version).await {
            run.unchecked(about);
            continue;
        }
        let wired = Wired { adapter, version };
        for (storage, _) in STORAGES {
            let fixture = Fixture { run, adapter: &wired, storage, about };
            fixture.rejections().await;
            if version == Version::HTTP_11 {
                fixture.raw().await;
            }
        }
        let fixture = Fixture { run, adapter: &wired, storage: Answers::AtOnce, about };
        fixture.table().await;
        fixture.paths().await;
        if version == Version::HTTP_11 {
            fixture.panics().await;
        }
    }
}

async fn serves<A: Adapter>(adapter: &A, version: Version) -> bool {
    let limits = Limits::over(MemoryStorage::new(), [Rule::per_day("api", 1)]);
    let layer = Layer::new(&limits.limiter, Options::new());
    adapter.serve(version, &[layer], Handler::default()).await.is_some()
}
