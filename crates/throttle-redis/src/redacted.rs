//! Errors of a server that repeats what it was sent, without the login.

use redis::{RedisError, Value};

use crate::options::Options;

/// What Redis writes before the arguments of a command that it does not have.
const ARGUMENTS: &str = ", with args";
const HIDDEN: &str = "what the server says repeats the login, and is not shown";

/// Returns the error of a handshake without the passwords: a Redis without `HELLO`, or a server of another
/// kind, may cite the command that they were sent in, as a whole or cut.
pub(crate) fn without_login(error: RedisError, options: &Options) -> RedisError {
    if error.is_io_error() {
        return error; // by this machine
    }
    let text = error.to_string();
    if text.contains(ARGUMENTS) {
        let cut = error.detail().and_then(|detail| detail.split_once(ARGUMENTS));
        return with_words(&error, cut.map_or(HIDDEN, |(before, _)| before));
    }
    let mut passwords =
        [&options.login.password, &options.sentinel_login.password].into_iter().flatten();
    if passwords.any(|password| !password.is_empty() && text.contains(password.as_str())) {
        return with_words(&error, HIDDEN);
    }
    error
}

/// Returns an error of the same kind and code with other words.
fn with_words(error: &RedisError, words: &str) -> RedisError {
    let code = error.code().unwrap_or_default();
    match redis::parse_redis_value(format!("-{code} {words}\r\n").as_bytes()) {
        Ok(Value::ServerError(same)) if !code.is_empty() => same.into(),
        _ => (error.kind(), HIDDEN).into(),
    }
}
