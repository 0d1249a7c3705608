//! How Redis is: what operators look at.

use std::time::Duration;

use redis::{Value, cmd};
use serde::{Deserialize, Serialize};
use throttle_core::StorageError;
use tokio::time::Instant;

use crate::{storage::RedisStorage, topology::Server};

/// Describes the servers behind a storage.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Info {
    /// How they are arranged: `standalone`, `sentinel`, `cluster`, or `given`.
    pub topology: String,
    /// The servers that keys live on: one, or all masters of a cluster.
    pub nodes: Vec<NodeInfo>,
}

/// Describes one server, as it does itself by `INFO`.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Where it is.
    pub address: String,
    /// Its version, such as `7.0.15`.
    pub version: String,
    /// `master` or `slave`.
    pub role: String,
    /// How many bytes its data take.
    pub used_memory: u64,
    /// How many bytes they may take; none when there is no bound.
    pub max_memory: Option<u64>,
    /// How many clients are connected.
    pub connected_clients: u64,
    /// How many replicas are connected.
    pub connected_replicas: u64,
    /// For how long it has run.
    pub uptime: Duration,
}

impl RedisStorage {
    /// Asks every server whether it is there, and returns how long the slowest took.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when one of them does not answer in time.
    pub async fn ping(&self) -> Result<Duration, StorageError> {
        let mut slowest = Duration::ZERO;
        for server in self.client.topology.masters().await? {
            let began = Instant::now();
            self.client.topology.call_at(&server, &cmd("PING")).await?;
            slowest = slowest.max(began.elapsed());
        }
        Ok(slowest)
    }

    /// Asks every server how it is.
    ///
    /// # Errors
    ///
    /// [`StorageError`] when one of them does not answer in time, or may not tell.
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
