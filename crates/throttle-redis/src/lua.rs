//! The Lua scripts that run in Redis, and their calls.
//!
//! A script is called by its SHA-1 digest (`EVALSHA`). Every new connection loads all scripts, so they exist
//! after a restart or a failover. If a script is missing, for example after a `SCRIPT FLUSH`,
//! [`Topology::run`](crate::topology::Topology::run) loads it and calls it again.

use std::sync::LazyLock;

use redis::{Arg, Cmd, Pipeline, ToRedisArgs, cmd};
use throttle_core::tag;

/// The script that decides a whole request, which [`crate::script`] describes.
pub(crate) static CHECK: LazyLock<Script> = LazyLock::new(|| {
    // The numbers of the algorithms are filled in as text: as Lua locals they would cost each request a third
    // of a microsecond.
    Script::new(&tag::fill_in(concat!(
        include_str!("lua/request.lua"),
        include_str!("lua/exact.lua"),
        include_str!("lua/block.lua"),
        include_str!("lua/prologue.lua"),
        include_str!("lua/mixed.lua"),
        include_str!("lua/own_state.lua"),
        include_str!("lua/fixed_window.lua"),
        include_str!("lua/sliding_counter.lua"),
        include_str!("lua/sliding_log.lua"),
        include_str!("lua/bucket.lua"),
        include_str!("lua/epilogue.lua"),
    )))
});

/// The script that keeps the permits of concurrency limits.
pub(crate) static CONCURRENCY: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/concurrency.lua")));

/// The script that keeps the allow list and the deny list.
pub(crate) static LISTS: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("lua/lists.lua")));

/// The script that increments a number, and sets a lifetime if the key is new.
///
/// It returns the sum by `GET`, as text: a Lua number would round it.
pub(crate) static INCREMENT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local there = redis.call('EXISTS', KEYS[1])
redis.call('INCRBY', KEYS[1], ARGV[1])
if there == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('GET', KEYS[1])",
    )
});

/// A Lua script and its digest.
pub(crate) struct Script {
    text: String,
    sha: String,
}

/// A call of a script.
pub(crate) struct ScriptCall {
    script: &'static Script,
    command: Cmd,
}

/// Returns a pipeline that loads all scripts.
pub(crate) fn load_all() -> Pipeline {
    let mut commands = Pipeline::new();
    for script in [&CHECK, &CONCURRENCY, &LISTS, &INCREMENT] {
        commands.add_command(script.load());
    }
    commands
}

impl Script {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), sha: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Returns the digest of the script.
    #[cfg(test)]
    pub(crate) fn sha(&self) -> &str {
        &self.sha
    }

    /// Returns the command that loads the script. The server answers with the digest.
    pub(crate) fn load(&self) -> Cmd {
        let mut command = cmd("SCRIPT");
        command.arg("LOAD").arg(&self.text);
        command
    }

    /// Creates a call with these keys, which must all be in the slot of the first one.
    pub(crate) fn call<K: ToRedisArgs>(&'static self, keys: &[K]) -> ScriptCall {
        let mut command = cmd("EVALSHA");
        command.arg(&self.sha).arg(keys.len()).arg(keys);
        ScriptCall { script: self, command }
    }
}

impl ScriptCall {
    /// Appends an argument.
    pub(crate) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.command.arg(argument);
        self
    }

    /// Returns the key that routes the call.
    pub(crate) fn key(&self) -> &[u8] {
        // EVALSHA, digest, number of keys, first key.
        match self.command.args_iter().nth(3) {
            Some(Arg::Simple(key)) => key,
            _ => &[],
        }
    }

    pub(crate) fn script(&self) -> &'static Script {
        self.script
    }

    pub(crate) fn command(&self) -> &Cmd {
        &self.command
    }
}
