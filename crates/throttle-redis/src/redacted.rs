//! Errors of a server that repeats what it was sent, without the login.

use redis::{RedisError, Value};

use crate::{
    options::Options,
    transport::{MAX_ERROR, as_text},
};

/// What Redis writes before the arguments of a command that it does not have.
const ARGUMENTS: &str = ", with args";
const HIDDEN: &str = "the error of the server may repeat the login, and is not shown";

/// Returns the error of a handshake without the passwords: a Redis without `HELLO`, or a server of another
/// kind, may cite the command that they were sent in, as a whole or cut.
pub(crate) fn without_login(error: RedisError, options: &Options) -> RedisError {
    if error.is_io_error() {
        return error; // by this machine
    }
    let error = without_arguments(error);
    let text = error.to_string();
    // One that was cut may end within a password. Redis writes none of half that length.
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
