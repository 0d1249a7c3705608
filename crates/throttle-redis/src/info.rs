//! Information about the Redis servers, for operators.

use std::time::Duration;

use redis::{Value, cmd};
use serde::{Deserialize, Serialize};
use throttle_core::StorageError;
use tokio::time::Instant;

use crate::{storage::RedisStorage, topology::Server};

/// Information about the servers of a storage.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Info {
    /// The topology: `standalone`, `sentinel`, `cluster`, or `given` for a connection that the user provided.
    pub topology: String,
    /// The servers that store keys: one, or all masters of a cluster.
    pub nodes: Vec<NodeInfo>,
}

/// Information about one server, from its answer to `INFO`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeInfo {
    /// The address.
    pub address: String,
    /// The version, such as `7.0.15`.
    pub version: String,
    /// The role: `master` or `slave`.
    pub role: String,
    /// The memory used by data, in bytes.
    pub used_memory: u64,
    /// The limit on that memory in bytes, or `None` if it is unlimited.
    pub max_memory: Option<u64>,
    /// The number of connected clients.
    pub connected_clients: u64,
    /// The number of connected replicas.
    pub connected_replicas: u64,
    /// The time since the server started.
    #[serde(with = "seconds")]
    pub uptime: Duration,
}

impl RedisStorage {
    /// Sends a PING to every server, and returns the longest round-trip time.
    ///
    /// # Errors
    ///
    /// Returns a [`StorageError`] if a server does not answer in time.
    pub async fn ping(&self) -> Result<Duration, StorageError> {
        let mut slowest = Duration::ZERO;
        for server in self.client.topology.masters().await? {
            let began = Instant::now();
            self.client.topology.call_at(&server, &cmd("PING")).await?;
            slowest = slowest.max(began.elapsed());
        }
        Ok(slowest)
    }

    /// Returns information about every server.
    ///
    /// # Errors
    ///
    /// Returns a [`StorageError`] if a server does not answer in time, or if the user has no permission for `INFO`.
    pub async fn info(&self) -> Result<Info, StorageError> {
        let mut nodes = Vec::new();
        for server in self.client.topology.masters().await? {
            let answer = self.client.topology.call_at(&server, &cmd("INFO")).await?;
            nodes.push(read(&server, &answer));
        }
        Ok(Info { topology: self.client.topology.kind().to_owned(), nodes })
    }
}

fn read(server: &Server, answer: &Value) -> NodeInfo {
    let text = match answer {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::VerbatimString { text, .. } => text.clone(),
        _ => String::new(),
    };
    let field = |name: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value.trim())
    };
    let number = |name: &str| field(name).parse::<u64>().unwrap_or(0);
    NodeInfo {
        address: server.name(),
        version: field("redis_version").to_owned(),
        role: field("role").to_owned(),
        used_memory: number("used_memory"),
        max_memory: Some(number("maxmemory")).filter(|bytes| *bytes > 0),
        connected_clients: number("connected_clients"),
        connected_replicas: number("connected_slaves"),
        uptime: Duration::from_secs(number("uptime_in_seconds")),
    }
}

/// A duration in whole seconds, which is what Redis reports.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        span: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(span.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}
