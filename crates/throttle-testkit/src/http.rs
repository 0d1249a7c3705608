//! The suite that every adapter passes.
//!
//! An [`Adapter`] says how a service is made, called and served; [`run`] does the rest: the table of answers, which
//! are compared to the byte, over a storage that answers at once and one that answers later; layers around each
//! other; charges that depend on the response; requests that wait; functions that panic; what cannot be used,
//! and what looks wrong.

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
mod run;
mod settling;
mod sockets;
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
};
use self::{
    fixture::{Answers, Fixture, Limits},
    run::Run,
    sockets::Wired,
};

const STORAGES: [(Answers, &str); 2] = [(Answers::AtOnce, "at once"), (Answers::Later, "later")];
const VERSIONS: [(Version, &str); 2] =
    [(Version::HTTP_11, "HTTP/1.1"), (Version::HTTP_2, "HTTP/2")];

/// Runs every scenario against an adapter, in a tokio runtime.
///
/// # Panics
///
/// When scenarios fail, at the end of all, with the name of each and why it fails.
pub async fn run<A: Adapter>(adapter: A) -> Report {
    run_part(adapter, "").await
}

/// As [`run`], with those scenarios whose name contains `part`.
///
/// # Panics
///
/// As [`run`].
pub async fn run_part<A: Adapter>(adapter: A, part: &str) -> Report {
    // Some of what is logged is counted by the process.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());
    let _one = ONE_AT_A_TIME.lock().await;
    static WAS_RUN: AtomicBool = AtomicBool::new(false);
    let run = Run::new(part);
    for (storage, about) in STORAGES {
        let fixture = Fixture { run: &run, adapter: &adapter, storage, about };
        if !WAS_RUN.swap(true, SeqCst) {
            fixture.once().await;
        }
        fixture.table().await;
        fixture.following().await;
        fixture.settling().await;
        fixture.panics().await;
        fixture.mistakes().await;
        fixture.warnings().await;
        fixture.config().await;
        fixture.failures().await;
        fixture.lookups().await;
        fixture.options().await;
        fixture.extensions().await;
        fixture.in_flight().await;
    }
    for (version, about) in VERSIONS {
        if !serves(&adapter, version).await {
            run.unchecked(&format!("{about} over a socket"));
            continue;
        }
        let wired = Wired { adapter: &adapter, version };
        for (storage, _) in STORAGES {
            let fixture = Fixture { run: &run, adapter: &wired, storage, about };
            fixture.rejections().await;
            if version == Version::HTTP_11 {
                fixture.raw().await;
            }
            if storage == Answers::AtOnce {
                fixture.table().await;
                if version == Version::HTTP_11 {
                    fixture.panics().await;
                }
            }
        }
    }
    run.finish()
}

async fn serves<A: Adapter>(adapter: &A, version: Version) -> bool {
    let limits = Limits::over(MemoryStorage::new(), [Rule::per_day("api", 1)]);
    let layer = Layer::new(&limits.limiter, Options::new());
    adapter.serve(version, &[layer], Handler::default()).await.is_some()
}
