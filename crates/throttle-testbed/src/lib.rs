//! Real Redis servers for tests (standalone, Sentinel and Cluster, with passwords and TLS), and a proxy
//! that injects faults between a client and a server.
//!
//! The servers run the `redis-server` of the machine. The environment variable
//! `RATETHROTTLE_REDIS_SERVER` selects another program, such as Valkey or an older Redis (6.2 or later).
//! Every server has its own free ports of 127.0.0.1 and its own folder, so any number of tests can
//! run at once. A server ends when its handle is dropped, when the test panics, and when the process of
//! the test ends.
//!
//! This crate is for tests, so errors are panics with a message.

// The testbed needs sockets and signals of Unix. Redis itself runs only there.
#![cfg(unix)]

mod certificates;
mod cluster;
mod port;
mod process;
mod proxy;
mod random;
mod resp;
mod sentinels;
mod server;
mod wait;

pub use crate::{
    certificates::Certificates,
    cluster::{Cluster, ClusterBuilder, SlotMove},
    proxy::{Connect, Faults, Proxy},
    resp::Reply,
    sentinels::{Sentinels, SentinelsBuilder},
    server::{Server, ServerBuilder},
};
