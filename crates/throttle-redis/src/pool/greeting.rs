//! The greeting of a server: the error that it writes to a new connection before it closes it.
//!
//! At `maxclients` and in protected mode Redis writes an error to the new connection and closes it. The Redis
//! client has no request yet that the error could answer. So it drops the error, and reports a broken pipe. To
//! report the cause, this module opens another connection and reads the error from it.

use std::{io, time::Duration};

use redis::{ConnectionAddr, RedisError, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
    time::timeout,
};

/// The timeout for the greeting, which Redis writes as soon as it accepts the connection.
const GREETING_TIMEOUT: Duration = Duration::from_millis(500);
/// The maximum number of bytes that are read. The longest greeting, of protected mode, has less than a
/// thousand.
const MAX_GREETING: usize = 2_048;

/// Returns the reason why the server closed a connection during its handshake, if the server reports one on
/// another connection. Otherwise returns `error`.
pub(super) async fn explain(address: &ConnectionAddr, error: RedisError) -> RedisError {
    if !error.is_connection_dropped() || error.is_connection_refusal() {
        return error;
    }
    let greeting = timeout(GREETING_TIMEOUT, greeting(address)).await;
    let line = greeting.ok().and_then(Result::ok).unwrap_or_default();
    match redis::parse_redis_value(&first_sentence(&line)) {
        Ok(Value::ServerError(reason)) => reason.into(),
        _ => error,
    }
}

/// Reads the first line from a new connection. Over TLS there is no greeting.
async fn greeting(address: &ConnectionAddr) -> io::Result<Vec<u8>> {
    let mut stream: Box<dyn AsyncRead + Send + Unpin> = match address {
        ConnectionAddr::Tcp(host, port) => {
            Box::new(TcpStream::connect((host.as_str(), *port)).await?)
        }
        #[cfg(unix)]
        ConnectionAddr::Unix(path) => Box::new(tokio::net::UnixStream::connect(path).await?),
        _ => return Ok(Vec::new()),
    };
    let (mut line, mut filled) = (vec![0; MAX_GREETING], 0);
    while filled < MAX_GREETING && !line[..filled].contains(&b'\n') {
        match stream.read(&mut line[filled..]).await? {
            0 => break,
            count => filled += count,
        }
    }
    line.truncate(filled);
    Ok(line)
}

/// Returns the first sentence, without the long advice that Redis appends in protected mode.
fn first_sentence(line: &[u8]) -> Vec<u8> {
    let line = line.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
    let end = line.windows(2).position(|pair| pair == b". ").unwrap_or(line.len());
    [&line[..end], b"\r\n"].concat()
}
