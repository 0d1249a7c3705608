//! The conformance suite for adapters.
//!
//! To use it, implement [`Adapter`] and call [`run`]. [`Adapter`] has three methods: they build a service from
//! layers and a handler, call the service, and optionally serve it on a socket. Its documentation shows a
//! complete adapter with its test.
//!
//! [`run`] first tests the steps of an adapter one by one, so that a failure names the step that is missing.
//! Then it runs the scenarios, once over a storage that replies at once and once over a storage that replies
//! later:
//!
//! - a table of cases, whose responses are compared byte by byte: header fields, problem details, gRPC
//! - nested layers
//! - charges that depend on the response, estimates that are reconciled, requests that are delayed
//! - paths that are spelled in unusual ways: [`spellings`]
//! - requests in flight: when a permit is held, and when it is released
//! - panics of functions, handlers, bodies and storages, and storage errors
//! - configuration errors: the error when a layer is built, the response of a layer that is not built, the log
//! - the extensions that handlers and outer layers read
//! - over sockets, by HTTP/1.1 and HTTP/2: the table again, and requests that are written byte by byte
//!
//! Clients may disconnect at any time: scenarios drop futures and bodies after every possible number of polls.
//!
//! A feature that the adapter does not offer is not a failure: [`Report::unchecked`] lists it. Compare this list
//! to the features that you left out on purpose, so that a forgotten one does not go unnoticed:
//!
//! | entry | how to offer it |
//! | --- | --- |
//! | `a layer of a rule alone` | Accept a [`Layer::source`] that is a rule: build a limiter from it by [`LimitSource::into_limiter`](throttle_http::LimitSource::into_limiter). |
//! | `a layer that is not built` | See [`Layer::is_built`]. |
//! | `routes` | Add the route `/users/{id}` to the service, and pass its pattern, as the framework writes it, by [`RequestHead::with_route`](throttle_http::RequestHead::with_route) or [`RequestView::route`](throttle_http::RequestView::route). |
//! | `HTTP/1.1 over sockets`, `HTTP/2 over sockets` | Implement [`Adapter::serve`]. |
//!
//! [`break_connections`] is a separate test, for a program that counts its allocations.

mod adapter;
mod after;
mod answer;
mod body;
mod case;
mod cases;
mod config;
mod config_errors;
mod extensions;
mod failures;
mod fixture;
mod handler;
mod in_flight;
mod lookups;
mod once;
mod options;
mod panics;
mod paths;
mod reconciling;
mod run;
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

/// Runs all scenarios against an adapter.
///
/// Call it in a tokio runtime with time and I/O enabled. Keep the suite in a separate test program: messages
/// that are logged once per process are checked in the first run of the process.
///
/// # Panics
///
/// Panics at the end if scenarios failed, with the name of each and the reason. This last panic lists all
/// failures; the panics that are printed before it are from single scenarios. If one of the first steps
/// fails, nothing else is run.
pub async fn run<A: Adapter>(adapter: A) -> Report {
    run_part(adapter, "").await
}

/// Runs the scenarios whose name contains `part`, such as `steps` or `in flight, at once`.
///
/// # Panics
///
/// Panics as [`run`] does.
pub async fn run_part<A: Adapter>(adapter: A, part: &str) -> Report {
    // Some messages are logged once per process, so runs must not overlap.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _one = ONE_AT_A_TIME.lock().await;
    let run = Run::new(part);
    steps(&run, &adapter).await;
    if !run.is_clean() {
        return run
            .finish("Fix the first failure first. Nothing else is run until these steps pass.\n");
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
        fixture.after().await;
        fixture.reconciling().await;
        fixture.in_flight().await;
        fixture.panics().await;
        fixture.failures().await;
        fixture.lookups().await;
        fixture.config_errors().await;
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
