//! Connections as bytes: what a server may send is bounded, and what was not written is known.

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

/// How many requests may stand between those who ask and the socket, before asking waits.
const QUEUE: usize = 1_024;

/// A connection that was made; it ends with this.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) sender: RequestSender,
    task: AbortHandle,
}

/// What requests are sent on, which does not keep the connection open.
#[derive(Clone, Debug)]
pub(crate) struct RequestSender {
    pub(crate) multiplexed: MultiplexedConnection,
    pub(crate) wire: Arc<Wire>,
    /// Where the connection lives.
    pub(crate) runtime: Handle,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Connects and logs in; `on_end` is called once, when nothing is read or written any more.
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
        .set_response_timeout(None) // each request has a deadline of its own
        .set_pipeline_buffer_size(QUEUE);
    let (multiplexed, driver) =
        MultiplexedConnection::new_with_config(settings, guarded, config).await?;
    let runtime = Handle::current();
    let task = runtime.spawn(driver).abort_handle();
    Ok(Connected { sender: RequestSender { multiplexed, wire, runtime }, task })
}

/// Connects and logs in, to listen.
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
