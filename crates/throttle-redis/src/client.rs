//! The client that all parts of a storage send their requests through.

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
    /// The lock that orders the requests of limiters with their own clock. Their times must reach Redis in the
    /// order in which they were read, or the clock would appear to step back.
    pub(crate) order: Mutex<()>,
}

impl Client {
    pub(crate) fn new(topology: Topology, options: &Options) -> Self {
        let secret = options.key_secret.as_ref().map(|secret| &secret.0[..]);
        let keys = Keys::new(options.key_prefix.clone(), secret);
        Self { topology, keys, order: Mutex::default() }
    }

    /// Sends a command to the server of `key`.
    pub(crate) async fn call(&self, key: &str, command: &Cmd) -> Result<Value, Failure> {
        self.topology.call(key.as_bytes(), command).await
    }

    /// Calls a script.
    pub(crate) async fn run(&self, call: &ScriptCall) -> Result<Value, Failure> {
        self.topology.run(call).await
    }

    /// Removes a key, and returns whether it existed.
    pub(crate) async fn unlink(&self, key: &str) -> Result<bool, StorageError> {
        match self.call(key, cmd("UNLINK").arg(key)).await? {
            Value::Int(count) => Ok(count > 0),
            answer => Err(unexpected("UNLINK", &answer)),
        }
    }
}

/// Returns the error for an answer that does not fit its command.
pub(crate) fn unexpected(command: &str, answer: &Value) -> StorageError {
    let answer = truncated(format_args!("{answer:?}"), 80);
    StorageError::other(format!(
        "unexpected answer to {command}: {answer}; check that the server is Redis"
    ))
}
