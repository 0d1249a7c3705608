//! The script's text, and its digest.

use std::sync::LazyLock;

use redis::{Cmd, Script};
use throttle_core::tag;

const BODY: &str = concat!(
    include_str!("../lua/request.lua"),
    include_str!("../lua/exact.lua"),
    include_str!("../lua/block.lua"),
    include_str!("../lua/prologue.lua"),
    include_str!("../lua/fixed_window.lua"),
    include_str!("../lua/sliding_counter.lua"),
    include_str!("../lua/sliding_log.lua"),
    include_str!("../lua/bucket.lua"),
    include_str!("../lua/epilogue.lua"),
);

/// The script's text.
///
/// Its numbers are filled in, since Lua's local variables would take each request a third of a microsecond of
/// the server.
static TEXT: LazyLock<String> = LazyLock::new(|| tag::fill_in(BODY));

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(&TEXT));

/// Returns the digest by which the script is called.
pub(crate) fn sha() -> &'static str {
    SCRIPT.get_hash()
}

/// Returns the command that makes the script known to a server, which answers with [`sha`].
pub(crate) fn load() -> Cmd {
    let mut cmd = redis::cmd("SCRIPT");
    cmd.arg("LOAD").arg(&*TEXT);
    cmd
}
