//! The server that receives a request.

use std::sync::Arc;

use redis::{Cmd, Pipeline, Value, cmd};
use tokio::time::Instant;

use super::external::{self, ExternalClient};
use crate::{error::Failure, pool::Pool};

/// A server that receives a request.
#[derive(Clone)]
pub(crate) enum Server {
    /// A server with its own pool. `asking` is set after an `ASK` redirection: the slot is moving to this server,
    /// which accepts its keys only after `ASKING`.
    Pool {
        pool: Arc<Pool>,
        asking: bool,
    },
    External(Arc<dyn ExternalClient>),
}

impl Server {
    pub(super) fn of(pool: &Arc<Pool>) -> Self {
        Self::Pool { pool: Arc::clone(pool), asking: false }
    }

    /// Returns the server without `ASKING`.
    pub(super) fn without_asking(&self) -> Self {
        match self {
            Self::Pool { pool, .. } => Self::of(pool),
            external => external.clone(),
        }
    }

    /// Sends a command once, and returns the answer if it arrives before the deadline.
    pub(super) async fn send(&self, command: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        match self {
            Self::Pool { pool, asking: false } => pool.send(command, deadline).await,
            Self::Pool { pool, asking: true } => {
                let mut both = Pipeline::with_capacity(2);
                both.add_command(cmd("ASKING")).add_command(command.clone());
                let mut answers = pool.send_all(&both, 1, 1, deadline).await?;
                Ok(answers.pop().unwrap_or(Value::Nil))
            }
            Self::External(client) => client.send(command, deadline).await,
        }
    }

    /// Returns the address of the server for reports and errors.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Pool { pool, .. } => pool.address().unwrap_or_else(|| pool.server().to_owned()),
            Self::External(_) => external::NAME.to_owned(),
        }
    }
}
