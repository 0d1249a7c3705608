//! A connection that the user provides.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use redis::{Cmd, Value, aio::ConnectionLike};
use tokio::time::{Instant, timeout_at};

use crate::error::{Failure, checked};

/// The name of the server in errors and reports.
pub(super) const NAME: &str = "given";

/// A connection that several requests can share, and that is cheap to clone, such as
/// [`redis::aio::MultiplexedConnection`] or [`redis::aio::ConnectionManager`].
///
/// [`redis::aio::ConnectionManager`]: https://docs.rs/redis/1/redis/aio/struct.ConnectionManager.html
pub trait SharedConnection: ConnectionLike + Clone + Send + Sync + 'static {}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> SharedConnection for C {}

/// A [`SharedConnection`] without its type.
pub(crate) trait ExternalClient: Send + Sync {
    /// Sends a command, and returns the answer if it arrives before the deadline.
    fn send<'a>(&'a self, command: &'a Cmd, deadline: Instant) -> Answer<'a>;
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 'a>>;

/// Boxes a connection to hide its type. `timeout` is the response timeout that errors report.
pub(super) fn boxed(
    connection: impl SharedConnection,
    timeout: Duration,
) -> Arc<dyn ExternalClient> {
    Arc::new(External { connection, timeout })
}

struct External<C> {
    connection: C,
    timeout: Duration,
}

impl<C: SharedConnection> ExternalClient for External<C> {
    fn send<'a>(&'a self, command: &'a Cmd, deadline: Instant) -> Answer<'a> {
        let (mut connection, timeout) = (self.connection.clone(), self.timeout);
        Box::pin(async move {
            match timeout_at(deadline, connection.req_packed_command(command)).await {
                Ok(answer) => {
                    answer.and_then(checked).map_err(|error| Failure::of_sent(NAME, error, timeout))
                }
                Err(_) => Err(Failure::Late { server: NAME.to_owned(), timeout }),
            }
        })
    }
}
