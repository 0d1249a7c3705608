//! A client of the Redis protocol with the features that tests need.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// The timeout of a command: longer than a busy machine needs, and shorter than a test may hang.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A reply of a server.
///
/// It displays as text: the items of a list on separate lines, and nil as an empty text.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// No value.
    Nil,
    /// A number.
    Integer(i64),
    /// A status or a value.
    Text(Vec<u8>),
    /// Several replies.
    List(Vec<Reply>),
    /// An error, with its code and text.
    Error(String),
}

impl Reply {
    /// Returns the number, or the text parsed as a number.
    ///
    /// # Panics
    ///
    /// If it is something else.
    #[must_use]
    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            Self::Text(text) => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("not a number: {self:?}")),
            _ => panic!("not a number: {self:?}"),
        }
    }

    /// Returns the items of a list.
    ///
    /// # Panics
    ///
    /// If it is something else.
    #[must_use]
    pub fn list(&self) -> &[Reply] {
        match self {
            Self::List(items) => items,
            _ => panic!("not a list: {self:?}"),
        }
    }

    /// Returns the bytes of a value, and no bytes for other replies.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            _ => &[],
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nil => Ok(()),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(&String::from_utf8_lossy(text)),
            Self::Error(words) => f.write_str(words),
            Self::List(items) => {
                for (i, item) in items.iter().enumerate() {
                    let line_end = if i == 0 { "" } else { "\n" };
                    write!(f, "{line_end}{item}")?;
                }
                Ok(())
            }
        }
    }
}

/// A connection over the server's Unix socket, without TLS or a proxy.
#[derive(Debug)]
pub(crate) struct Connection(BufReader<UnixStream>);

impl Connection {
    pub(crate) fn open(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn call<A: AsRef<[u8]>>(&mut self, command: &[A]) -> io::Result<Reply> {
        let mut request = format!("*{}\r\n", command.len()).into_bytes();
        for part in command.iter().map(AsRef::as_ref) {
            request.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            request.extend_from_slice(part);
            request.extend_from_slice(b"\r\n");
        }
        self.0.get_mut().write_all(&request)?;
        self.read()
    }

    fn read(&mut self) -> io::Result<Reply> {
        let mut line = String::new();
        if self.0.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (kind, rest) = line.trim_end().split_at(1);
        Ok(match kind {
            "+" => Reply::Text(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Integer(number(rest)?),
            "$" => match usize::try_from(number(rest)?) {
                Ok(length) => self.read_text(length)?,
                Err(_) => Reply::Nil,
            },
            "*" => match usize::try_from(number(rest)?) {
                Ok(length) => {
                    Reply::List((0..length).map(|_| self.read()).collect::<Result<_, _>>()?)
                }
                Err(_) => Reply::Nil,
            },
            _ => return Err(io::Error::other(format!("not RESP: {line:?}"))),
        })
    }

    fn read_text(&mut self, length: usize) -> io::Result<Reply> {
        let mut text = vec![0; length + 2];
        self.0.read_exact(&mut text)?;
        text.truncate(length);
        Ok(Reply::Text(text))
    }
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| io::Error::other(format!("not a number: {text:?}")))
}
