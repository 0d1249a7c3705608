//! The script's text, and its digest.

use std::sync::LazyLock;

use redis::{Cmd, Script};
use throttle_core::tag;

const BODY: &str = concat!(
    include_str!("../lua/request.lua"),
    include_str!("../lua/wide.lua"),
    include_str!("../lua/block.lua"),
    include_str!("../lua/settle.lua"),
    include_str!("../lua/fixed_window.lua"),
    include_str!("../lua/sliding_counter.lua"),
    include_str!("../lua/sliding_log.lua"),
    include_str!("../lua/bucket.lua"),
    include_str!("../lua/conclude.lua"),
);

/// The script's text.
static TEXT: LazyLock<String> = LazyLock::new(|| with_numbers(BODY));

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(&TEXT));

/// Returns a text with numbers in place of the names of core's table. Local variables of Lua would take each
/// request a third of a microsecond of the server.
fn with_numbers(text: &str) -> String {
    let replace =
        |text: String, (name, number): (String, u8)| text.replace(&name, &number.to_string());
    tag::names().fold(text.to_owned(), replace)
}

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
