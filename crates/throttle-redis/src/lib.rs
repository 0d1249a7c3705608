//! The Redis storage of RateThrottle: rate limits that several servers share.
//!
//! [`RedisStorage`] works with a single Redis server, with the master that [Sentinel] reports, or
//! with a [Cluster]. The options are the same for each. It needs Redis 6.2 or later, or Valkey.
//!
//! A check is one call of one Lua script. The script decides for all rules of the request by the clock
//! of Redis, and charges all rules or none. Requests share a few connections, which background tasks
//! establish and check. A call that may have been carried out is never sent again.
//!
//! # Terms of this crate
//!
//! - A *state* is the value that Redis stores for a key and a rule, such as the level of a token bucket.
//! - The *script* is the Lua program that reads the states, decides, and writes the states back.
//! - The *topology* (standalone, Sentinel, Cluster, or a connection that the user provides) selects the
//!   server of a key, and follows failovers and redirections.
//! - The *pool* of a server has a few *connection slots*. A background task for each slot connects,
//!   and reconnects when the connection breaks.
//! - The *connection health* records whether a connection may be used: it is broken, or an answer was
//!   late and the connection must first answer a PING.
//! - The *pipeliner* of a connection sends requests that arrive together in one write.
//! - A *permit* of a concurrency limit has a *lease*. The process that holds the permit renews its
//!   lease; after a crash the lease expires, and the permit is free again.
//!
//! [Sentinel]: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
//! [Cluster]: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/

#![cfg_attr(docsrs, feature(doc_cfg))]

mod background;
mod builder;
mod calls;
mod client;
mod concurrency;
mod error;
mod info;
mod keys;
mod lists;
mod lua;
mod operations;
mod options;
mod pool;
mod redacted;
mod retry;
mod script;
mod stats;
mod storage;
mod tls;
mod topology;
mod transport;
mod ttl;
mod url;

pub use redis;

pub use self::{
    builder::RedisStorageBuilder,
    error::Error,
    info::{Info, NodeInfo},
    stats::Stats,
    storage::RedisStorage,
    tls::Tls,
    topology::SharedConnection,
};
