//! What all parts of a storage send requests through.

use redis::{Cmd, Value, cmd};
use throttle_core::StorageError;
use tokio::sync::Mutex;

use crate::{
    error::{Failure, truncated},
    keys::Keys,
    lua::ScriptCall,
    options::Options,
    topology::Topology,
};

/// The connections of a storage, and the names of its keys.
pub(crate) struct Client {
    pub(crate) topology: Topology,
    pub(crate) keys: Keys,
    /// Keeps requests in order whose limiter has a clock of its own: its times must reach Redis in the
    /// order in which they were read, or the clock would seem to step back.
    pub(crate) order: Mutex<()>,
}

impl Client {
    pub(crate) fn new(topology: Topology, options: &Options) -> Self {
        let secret = options.key_secret.as_ref().map(|secret| &secret.0[..]);
        let keys = Keys::new(options.key_prefix.clone(), secret);
        Self { topology, keys, order: Mutex::default() }
    }

    /// Sends a command about `key`.
    pub(crate) async fn call(&self, key: &str, command: &Cmd) -> Result<Value, Failure> {
        self.topology.call(key.as_bytes(), command).await
    }

    /// Calls a script.
    pub(crate) async fn run(&self, call: &ScriptCall) -> Result<Value, Failure> {
        self.topology.run(call).await
    }

    /// Removes a key, and returns whether it was there.
    pub(crate) async fn unlink(&self, key: &str) -> Result<bool, StorageError> {
        match self.call(key, cmd("UNLINK").arg(key)).await? {
            Value::Int(count) => Ok(count > 0),
            answer => Err(unexpected("UNLINK", &answer)),
        }
    }
}

/// Returns the error of a command with an answer that it never has.
pub(crate) fn unexpected(command: &str, answer: &Value) -> StorageError {
    let answer = truncated(format_args!("{answer:?}"), 80);
    StorageError::other(format!("{command} was answered by {answer}, which makes no sense"))
}
