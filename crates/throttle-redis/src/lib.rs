//! The Redis storage of RateThrottle: one limit that any number of servers share.
//!
//! [`RedisStorage`] keeps limits on one Redis, on the master that [Sentinel] names, or on a
//! [Cluster], with the same options for each. A check is one call of one script, in which Redis decides
//! by its own clock for all rules of the request: all or nothing. It needs Redis 6.2 or later, or
//! Valkey.
//!
//! Connections are few, shared, and kept up in the background. A call that failed after it may have
//! been carried out is never sent again.
//!
//! [Sentinel]: https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
//! [Cluster]: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/

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
