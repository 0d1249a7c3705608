//! What a server says to a client before it is asked anything: why it takes no connection.
//!
//! At `maxclients` and in protected mode Redis writes an error to the new connection and closes it. The client
//! of Redis has no request yet that the error would answer, drops it, and reports a broken pipe.

use std::{io, time::Duration};

use redis::{ConnectionAddr, RedisError, Value};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
    time::timeout,
};

/// The error is written as soon as the connection is accepted.
const GREETING_TIMEOUT: Duration = Duration::from_millis(500);
/// The error of protected mode, the longest, has less than a thousand bytes.
const MAX_GREETING: usize = 2_048;

/// Returns why the server closed a connection before its handshake was over, if it says so to another one;
/// otherwise the error as it is.
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

/// Reads the first line that comes. Nothing does over TLS.
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

/// Cuts the advice off that Redis appends in protected mode.
fn first_sentence(line: &[u8]) -> Vec<u8> {
    let line = line.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
    let end = line.windows(2).position(|pair| pair == b". ").unwrap_or(line.len());
    [&line[..end], b"\r\n"].concat()
}
