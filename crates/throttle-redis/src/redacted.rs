//! Errors of a server that repeats what it was sent, without the login.

use redis::{RedisError, Value};

use crate::options::Options;

/// What Redis writes before the arguments of a command that it does not have.
const ARGUMENTS: &str = ", with args";
const HIDDEN: &str = "the error of the server repeats the login, and is not shown";

/// Returns the error of a handshake without the passwords: a Redis without `HELLO`, or a server of another
/// kind, may cite the command that they were sent in, as a whole or cut.
pub(crate) fn without_login(error: RedisError, options: &Options) -> RedisError {
    if error.is_io_error() {
        return error; // by this machine
    }
    let error = without_arguments(error);
    let text = error.to_string();
    let is_shown = |password: &String| {
        let escaped = format!("{password:?}");
        let escaped = &escaped[1..escaped.len() - 1];
        !password.is_empty() && (text.contains(password.as_str()) || text.contains(escaped))
    };
    let passwords = [&options.login.password, &options.sentinel_login.password];
    if passwords.into_iter().flatten().any(is_shown) {
        return (error.kind(), HIDDEN).into();
    }
    error
}

/// Returns the error with the words before the arguments alone, which may be cut within a password.
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
