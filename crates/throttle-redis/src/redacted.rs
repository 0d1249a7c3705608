//! Removes passwords from the errors of servers that quote the commands they received.

use redis::{RedisError, Value};

use crate::{
    options::Options,
    transport::{MAX_ERROR, as_text},
};

/// The text before the arguments in Redis' error for an unknown command.
const ARGUMENTS: &str = ", with args";
const HIDDEN: &str = "the server's error is not shown because it may contain the login";

/// Returns the error of a handshake without the passwords.
///
/// A Redis without `HELLO`, or a server that is not Redis, may quote the command that contained them, whole or
/// truncated.
pub(crate) fn without_login(error: RedisError, options: &Options) -> RedisError {
    if error.is_io_error() {
        return error; // its text comes from this machine
    }
    let error = without_arguments(error);
    let text = error.to_string();
    // A truncated error may end within a password, and the search below would not find that part. Errors of
    // Redis itself are not half as long.
    let is_cut = text.len() >= MAX_ERROR / 2;
    let is_shown = |password: &String| {
        let as_text: String = password.bytes().map(as_text).map(char::from).collect();
        let shown =
            |form: &str| text.contains(form) || text.contains(&*form.escape_debug().to_string());
        !password.is_empty() && (is_cut || shown(password) || shown(&as_text))
    };
    let passwords = [&options.login.password, &options.sentinel_login.password];
    if passwords.into_iter().flatten().any(is_shown) {
        return (error.kind(), HIDDEN).into();
    }
    error
}

/// Returns the error without the quoted arguments, which may be truncated within a password.
fn without_arguments(error: RedisError) -> RedisError {
    if !error.to_string().contains(ARGUMENTS) {
        return error;
    }
    let words = error.detail().and_then(|detail| detail.split_once(ARGUMENTS));
    if let (Some(code), Some((words, _))) = (error.code(), words)
        && let Ok(Value::ServerError(same)) =
            redis::parse_redis_value(format!("-{code} {words}\r\n").as_bytes())
    {
        return same.into();
    }
    (error.kind(), HIDDEN).into()
}
