//! Real Redis servers for tests: standalone, Sentinel and Cluster, with passwords and TLS, and a
//! proxy that breaks things between a client and a server.
//!
//! They are started from the `redis-server` of the machine; the environment variable
//! `RATETHROTTLE_REDIS_SERVER` names another one, such as Valkey's or an older Redis (6.2 is the
//! oldest that it is written for). Every server has free ports of 127.0.0.1 and a folder of its
//! own, so that any number of tests run at once, and ends with its handle, with a panic, and with
//! the test's process.
//!
//! This is for tests: what goes wrong here panics, with words that say what.

// Sockets and signals of Unix are what it works by, and Redis runs nowhere else.
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
