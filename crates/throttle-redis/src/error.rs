//! What can go wrong: when a storage is made ([`Error`]), and when it is asked
//! ([`StorageError`]).

use std::{fmt, io, path::PathBuf, time::Duration};

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use throttle_core::StorageError;

use crate::background::NoRuntime;

/// The schemes that are understood.
const SCHEMES: &str =
    "redis, rediss, redis+unix, redis+sentinel, rediss+sentinel, redis+cluster and rediss+cluster";

/// Says why a storage could not be made.
///
/// No variant shows a password, nor any text of an address that could not be read: it may be a part of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address cannot be read.
    #[error("the address of Redis cannot be read: {what}; {help}")]
    InvalidUrl {
        /// What is wrong with it.
        what: String,
        /// What to write.
        help: String,
    },
    /// The scheme of the address is unknown.
    #[error("the scheme of the address of Redis is unknown; there are {SCHEMES}")]
    UnknownScheme,
    /// An option is out of range.
    #[error("{option} cannot be {value}: it must be {allowed}")]
    InvalidOption {
        /// The name of the option.
        option: &'static str,
        /// What it was.
        value: String,
        /// What it may be.
        allowed: &'static str,
    },
    /// A file for TLS cannot be read, or is not PEM.
    #[error("the {what} for TLS cannot be read from {}: {source}", file.display())]
    TlsFile {
        /// Which file it is.
        what: &'static str,
        /// Where it was looked for.
        file: PathBuf,
        /// Why it cannot be read.
        source: io::Error,
    },
    /// Redis was not reached, or did not let us in.
    #[error("{0}")]
    Connect(#[source] StorageError),
    /// There is no tokio runtime, which the connections live in.
    #[error("a Redis storage is made within a tokio runtime: call this from async code")]
    NoRuntime,
}

impl Error {
    /// Says what the client of Redis found wrong with an address, without what it cites.
    pub(crate) fn unusable(error: RedisError) -> Self {
        let text = error.to_string();
        let what = text.split(": ").next().unwrap_or_default().to_owned();
        Self::InvalidUrl { what, help: "see the guide's page on Redis".to_owned() }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        Self::Connect(error)
    }
}

/// What was asked and did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// No connection is there.
    #[error("no connection to Redis ({server}): {}", reason(.last))]
    NotConnected { server: String, last: Option<RedisError> },
    /// There is no tokio runtime.
    #[error(
        "a Redis storage is used within a tokio runtime: call this from async code that tokio runs"
    )]
    NoRuntime,
    /// It was not sent.
    #[error(
        "Redis ({server}) is asked for more than it can do: {waiting} calls wait for one connection \
         already, so that this one was not sent. Look at its slow log, and at the guide's page on sizing"
    )]
    Overload { server: String, waiting: usize },
    /// Redis answered that it did not do it.
    #[error("Redis ({server}) did not do it: {}{}", error_text(.source), advice(.source))]
    ErrorReply { server: String, source: RedisError },
    /// Nobody knows whether it was done.
    #[error(
        "Redis ({server}) did not answer within {timeout:?}; the call may have been carried out, so \
         it is not sent again. If this is frequent, look at its slow log, or raise response_timeout"
    )]
    Late { server: String, timeout: Duration },
    /// Nobody knows whether it was done.
    #[error(
        "the connection to Redis ({server}) was lost before the answer: {source}; the call may have \
         been carried out, so it is not sent again"
    )]
    Lost { server: String, source: RedisError },
}

impl Failure {
    /// Sorts an answer to a command that was sent.
    pub(crate) fn of_sent(server: &str, error: RedisError, timeout: Duration) -> Self {
        let server = server.to_owned();
        if error.is_timeout() {
            Self::Late { server, timeout }
        } else if error.is_io_error() || matches!(error.kind(), ErrorKind::Parse) {
            Self::Lost { server, source: error }
        } else {
            Self::ErrorReply { server, source: error }
        }
    }

    /// Returns what Redis said to prove that it did nothing.
    pub(crate) fn error_reply(&self) -> Option<&RedisError> {
        match self {
            Self::ErrorReply { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<NoRuntime> for Failure {
    fn from(NoRuntime: NoRuntime) -> Self {
        Self::NoRuntime
    }
}

impl From<Failure> for StorageError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotConnected { .. }
            | Failure::NoRuntime
            | Failure::Overload { .. }
            | Failure::ErrorReply { .. } => Self::not_carried_out(failure),
            Failure::Late { .. } | Failure::Lost { .. } => Self::other(failure),
        }
    }
}

fn reason(last: &Option<RedisError>) -> String {
    match last {
        Some(error) => format!("{}{}", error_text(error), advice(error)),
        None => "it is being made".to_owned(),
    }
}

/// No text of a server is longer than this in an error.
const MAX_TEXT: usize = 1_200;

/// Tells an answer from an error that is sent as one.
pub(crate) fn checked(answer: Value) -> Result<Value, RedisError> {
    match answer {
        Value::ServerError(error) => match error.details() {
            Some(detail) if detail.len() > MAX_TEXT || error.code().len() > MAX_TEXT => {
                let code = truncated(format_args!("{}", error.code()), MAX_TEXT);
                let detail = truncated(format_args!("{detail}"), MAX_TEXT);
                Err(redis::make_extension_error(code, Some(detail)))
            }
            _ => Err(error.into()),
        },
        answer => Ok(answer),
    }
}

/// Writes the error of an answer of another kind, without all of the answer.
pub(crate) fn unreadable(error: &redis::ParsingError) -> String {
    truncated(format_args!("{error}"), 200)
}

/// Writes no more than so many bytes of a text, and of a long one no more is made.
pub(crate) fn truncated(text: fmt::Arguments<'_>, most: usize) -> String {
    struct Short {
        text: String,
        most: usize,
    }
    impl fmt::Write for Short {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            let room = self.most - self.text.len();
            let mut end = part.len().min(room);
            while !part.is_char_boundary(end) {
                end -= 1;
            }
            self.text.push_str(&part[..end]);
            if part.len() > room { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut short = Short { text: String::new(), most };
    match fmt::write(&mut short, text) {
        Ok(()) => short.text,
        Err(fmt::Error) => short.text + "…",
    }
}

/// Writes what Redis said as it said it, by which it can be looked up: its code, then its words.
fn error_text(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {}", detail.trim_end_matches('.')),
        _ if matches!(error.kind(), ErrorKind::Parse) => {
            "what came back is not the protocol of Redis".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Whether Redis says that it is no master (any more), at the top or from within a script.
pub(crate) fn is_read_only(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly))
        || error.detail().is_some_and(|detail| detail.contains("READONLY"))
}

/// Whether Redis says that it lacks the script.
pub(crate) fn is_no_script(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoScript))
}

/// Whether it is worth asking the same server again in a moment.
pub(crate) fn is_transient(error: &RedisError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
        )
    ) || error.code() == Some("BUSY")
}

/// Where nothing comes back, or nothing that can be read.
const NOT_REDIS: &str = "check that Redis listens at this host and port, and that both sides use TLS \
                         (rediss://) or neither (redis://)";
/// As above, where the connection was closed. Over TLS Redis cannot say why.
const CLOSED: &str = "check that Redis listens at this host and port, and that both sides use TLS \
                      (rediss://) or neither (redis://); over TLS a Redis that has reached maxclients \
                      also closes connections without an error";

/// Says what to do about what Redis said.
fn advice(error: &RedisError) -> String {
    // Redis 6.2 hides this code behind one of scripts.
    let code = if is_read_only(error) { "READONLY" } else { error.code().unwrap_or_default() };
    let help = match code {
        "NOAUTH" => {
            "set a password (in the address: redis://user:password@host; of sentinels: \
             ?sentinel_password=…)"
        }
        "WRONGPASS" => "check the user and the password",
        "NOPERM" => {
            "give the user the commands and keys that the guide lists (docs/redis.md, ACL), among \
             them the prefix of the keys"
        }
        "READONLY" => {
            "this server is a replica: connect to the master, by Sentinel or Cluster if it moves"
        }
        "OOM" => "Redis is full: raise maxmemory, or choose an eviction policy",
        "MISCONF" => "Redis cannot save to its disk and takes no writes: look at its log",
        "LOADING" => "Redis is loading its data: it will be there soon",
        "CLUSTERDOWN" => "the cluster lacks a master for some slots: look at CLUSTER INFO",
        "MOVED" | "ASK" => {
            "this is a node of a cluster: use redis+cluster:// or RedisStorage::cluster"
        }
        "CROSSSLOT" => "this is a cluster: use redis+cluster:// or RedisStorage::cluster",
        "WRONGTYPE" | "RTCORRUPT" => {
            "something else writes under this name: give the storage a key_prefix of its own, or \
             delete the key"
        }
        "NOREPLICAS" => "too few replicas are in reach: look at min-replicas-to-write",
        "BUSY" => "a script of somebody else keeps Redis busy: look at its slow log",
        "DENIED" => {
            "set a password in Redis (requirepass, or a user), and the login in the address"
        }
        _ => match error.kind() {
            ErrorKind::AuthenticationFailed => "check the user and the password",
            ErrorKind::Parse => NOT_REDIS,
            ErrorKind::RESP3NotSupported => "set protocol to 2, or use Redis 6.2 or later",
            ErrorKind::MasterNameNotFoundBySentinel => {
                "check the name of the master, and whether the sentinels see it up"
            }
            ErrorKind::Io if error.is_connection_refusal() => {
                "check that it runs, and the port (of a Unix socket: the path)"
            }
            ErrorKind::Io if error.is_timeout() => NOT_REDIS,
            ErrorKind::Io if error.is_connection_dropped() => CLOSED,
            _ => return advice_by_text(&error.to_string()),
        },
    };
    format!("; {help}")
}

fn advice_by_text(text: &str) -> String {
    let help = if text.contains("OOM ") {
        "Redis is full: raise maxmemory, or choose an eviction policy"
    } else if let Some(help) = certificate_advice(text) {
        help
    } else if text.contains("max number of clients") {
        "Redis has as many connections as it allows: raise its maxclients, or find them in CLIENT LIST"
    } else if text.contains("Permission denied") {
        "let this process read and write the socket: unixsocketperm of Redis, and the group of the file"
    } else if text.contains("NOPERM") || text.contains("can't run this command") {
        "give the user the commands and keys that the guide lists (docs/redis.md, ACL)"
    } else if text.contains("WRONGTYPE") {
        "something else writes under this name: give the storage a key_prefix of its own"
    } else if text.contains("cluster support disabled") {
        "it is no node of a cluster: use redis://"
    } else if text.contains("not point to a sentinel") {
        "the hosts are those of the sentinels, at port 26379 if nothing else is set, and not of Redis"
    } else if text.contains("DB index") {
        "the number of a database in the address is below `databases` of Redis, 16 if nothing else is set"
    } else {
        return String::new();
    };
    format!("; {help}")
}

/// Says what to do about a certificate, by the words of rustls for what is wrong with it.
fn certificate_advice(text: &str) -> Option<&'static str> {
    let help = [
        (
            "CaUsedAsEndEntity",
            "the server presents a CA certificate, as `openssl req -x509` creates by default: create it with \
             `-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:its-name`, and set `ca` to its \
             file",
        ),
        (
            "UnsupportedCertVersion",
            "the server's certificate has version 1: create one of version 3, with a subjectAltName",
        ),
        (
            "UnknownIssuer",
            "the server's certificate is not signed by a trusted CA: set `ca` to the file of its CA",
        ),
        (
            "not valid for",
            "connect to a name in the server's certificate, or create one with this name as a subjectAltName",
        ),
        ("certificate expired", "renew the server's certificate, or correct the clocks"),
        ("certificate not valid yet", "correct the clocks"),
        (
            "CertificateRequired",
            "the server asks for a client certificate: set one and its key (in the address: ?cert=…&key=…), or \
             change tls-auth-clients of Redis",
        ),
        (
            "UnknownCA",
            "the server does not trust the client certificate: check tls-ca-cert-file of Redis",
        ),
        (
            "ertificate",
            "check the CA, the client certificate, and that the server's name is in its certificate",
        ),
    ];
    help.into_iter().find_map(|(words, help)| text.contains(words).then_some(help))
}
