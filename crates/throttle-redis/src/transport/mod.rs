//! The transport of a connection, below the Redis client.
//!
//! It adds two properties to a stream. First, replies are bounded and checked before the client parses them
//! ([`resp_scanner`]). Second, written bytes are counted ([`wire`]): if a connection ends, the count can prove that a
//! request was not written. Only then may the request be sent again on another connection.

mod connect;
mod resp_scanner;
mod wire;

use std::sync::Arc;

use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, RedisConnectionInfo, RedisError,
    aio::{MultiplexedConnection, PubSub},
};
use tokio::{runtime::Handle, task::AbortHandle};

pub(crate) use self::{
    connect::Encryption,
    resp_scanner::{MAX_ERROR, as_text},
    wire::Wire,
};
use self::{
    connect::{Stream, connect},
    wire::GuardedStream,
};

/// The maximum number of requests between callers and the socket, before callers have to wait.
const QUEUE: usize = 1_024;

/// An established connection, which is closed when this is dropped.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) sender: RequestSender,
    task: AbortHandle,
}

/// A handle for sending requests, which does not keep the connection open.
#[derive(Clone, Debug)]
pub(crate) struct RequestSender {
    pub(crate) multiplexed: MultiplexedConnection,
    pub(crate) wire: Arc<Wire>,
    /// The runtime of the connection's task.
    pub(crate) runtime: Handle,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects and logs in. `on_end` is called once, when the connection has ended.
pub(crate) async fn open(
    info: &ConnectionInfo,
    encryption: Option<&Encryption>,
    on_end: impl Fn() + Send + Sync + 'static,
) -> Result<Connected, RedisError> {
    let stream = connect(info.addr(), encryption).await?;
    over(stream, is_encrypted(info), info.redis_settings(), on_end).await
}

/// Logs in on a stream.
async fn over(
    stream: Stream,
    is_encrypted: bool,
    settings: &RedisConnectionInfo,
    on_end: impl Fn() + Send + Sync + 'static,
) -> Result<Connected, RedisError> {
    let wire = Wire::new(on_end);
    let guarded = GuardedStream::new(stream, is_encrypted, Arc::clone(&wire));
    let config = AsyncConnectionConfig::new()
        .set_response_timeout(None) // each request has its own deadline
        .set_pipeline_buffer_size(QUEUE);
    let (multiplexed, driver) =
        MultiplexedConnection::new_with_config(settings, guarded, config).await?;
    let runtime = Handle::current();
    let task = runtime.spawn(driver).abort_handle();
    Ok(Connected { sender: RequestSender { multiplexed, wire, runtime }, task })
}

/// Connects and logs in for subscriptions.
pub(crate) async fn subscribe(
    info: &ConnectionInfo,
    encryption: Option<&Encryption>,
) -> Result<PubSub, RedisError> {
    let stream = connect(info.addr(), encryption).await?;
    let guarded = GuardedStream::new(stream, is_encrypted(info), Wire::new(|| ()));
    PubSub::new(info.redis_settings(), guarded).await
}

fn is_encrypted(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

#[cfg(test)]
mod tests;
