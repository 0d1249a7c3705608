//! A connection that the user made.

use std::sync::Arc;

use redis::{Cmd, RedisFuture, Value, aio::ConnectionLike};

use crate::error::checked;

/// A connection that many can use at once, such as [`redis::aio::MultiplexedConnection`] or
/// [`redis::aio::ConnectionManager`]: cheap to clone.
///
/// [`redis::aio::ConnectionManager`]: https://docs.rs/redis/1/redis/aio/struct.ConnectionManager.html
pub trait SharedConnection: ConnectionLike + Clone + Send + Sync + 'static {}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> SharedConnection for C {}

/// The same without its type.
pub(crate) trait Given: Send + Sync {
    fn send<'a>(&'a self, command: &'a Cmd) -> RedisFuture<'a, Value>;
}

pub(super) fn boxed(connection: impl SharedConnection) -> Arc<dyn Given> {
    Arc::new(Boxed(connection))
}

struct Boxed<C>(C);

impl<C: SharedConnection> Given for Boxed<C> {
    fn send<'a>(&'a self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let mut connection = self.0.clone();
        Box::pin(async move { checked(connection.req_packed_command(command).await?) })
    }
}
