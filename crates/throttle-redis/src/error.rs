//! Errors of creating a storage ([`Error`]) and of its requests ([`StorageError`]).

use std::{fmt, io, path::PathBuf, time::Duration};

use redis::{ErrorKind, RedisError, ServerErrorKind, Value};
use throttle_core::StorageError;

use crate::background::NoRuntime;

/// The known URL schemes.
const SCHEMES: &str =
    "redis, rediss, redis+unix, redis+sentinel, rediss+sentinel, redis+cluster and rediss+cluster";

/// The error of creating a storage.
///
/// No variant shows a password. An address that cannot be parsed is not quoted, because any part of it may
/// belong to a password.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An address that cannot be parsed.
    #[error("the Redis address is invalid: {what}; {help}")]
    InvalidUrl {
        /// The fault.
        what: String,
        /// The advice.
        help: String,
    },
    /// An unknown scheme of the address.
    #[error("the Redis address has an unknown scheme; the supported schemes are {SCHEMES}")]
    UnknownScheme,
    /// An option that is out of range.
    #[error("{option} cannot be {value}: it must be {allowed}")]
    InvalidOption {
        /// The name of the option.
        option: &'static str,
        /// The value.
        value: String,
        /// The allowed values.
        allowed: &'static str,
    },
    /// A TLS file that cannot be read or is not in PEM format.
    #[error("the TLS {what} cannot be read from {}: {source}", file.display())]
    TlsFile {
        /// The kind of file.
        what: &'static str,
        /// The path.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A failure to reach Redis or to log in.
    #[error("{0}")]
    Connect(#[source] StorageError),
    /// A call outside a tokio runtime, which the connections need.
    #[error("a Redis storage needs a tokio runtime: create it within one")]
    NoRuntime,
}

throttle_core::debug_as_text!(Error);

impl Error {
    /// Returns the error of an address that the Redis client rejects, without the parts that quote the address.
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

/// The failure of a request.
#[derive(thiserror::Error)]
pub(crate) enum Failure {
    /// No connection is up.
    #[error("no connection to Redis ({server}): {}", reason(.last))]
    NotConnected { server: String, last: Option<RedisError> },
    /// The call was made outside a tokio runtime.
    #[error("a Redis storage needs a tokio runtime: use it within one")]
    NoRuntime,
    /// The request was not sent.
    #[error(
        "Redis ({server}) is overloaded: {waiting} calls are already waiting for one connection, so this call was \
         not sent. Check the slow log of Redis, and see the guide's page on sizing"
    )]
    Overload { server: String, waiting: usize },
    /// Redis answered with an error, and did not carry out the request.
    #[error("Redis ({server}) returned an error: {}{}", error_text(.source), advice(.source))]
    ErrorReply { server: String, source: RedisError },
    /// The answer was late, and the request may have been carried out.
    #[error(
        "Redis ({server}) did not answer within {timeout:?}; the call may have been carried out, so it is not \
         sent again. If this is frequent, check the slow log of Redis, or raise response_timeout"
    )]
    Late { server: String, timeout: Duration },
    /// The connection broke, and the request may have been carried out.
    #[error(
        "the connection to Redis ({server}) was lost before the reply arrived: {source}; the call may have \
         been carried out, so it is not sent again"
    )]
    Lost { server: String, source: RedisError },
}

throttle_core::debug_as_text!(Failure);

impl Failure {
    /// Classifies the error of a command that was sent.
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

    /// Returns the error reply of Redis, which proves that the request was not carried out.
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
        None => "the first connection is being established".to_owned(),
    }
}

/// The longest text of a server in an error.
const MAX_TEXT: usize = 1_200;

/// Converts an answer to a result: an error reply becomes an error with a bounded text.
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

/// Returns the text for an answer of an unexpected type, without the whole answer.
pub(crate) fn unreadable(error: &redis::ParsingError) -> String {
    truncated(format_args!("{error}"), 200)
}

/// Formats at most `most` bytes of a text. Formatting stops there, so that a long text is never allocated.
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

/// Returns an error of Redis in its own words, code and text, so that users can look it up.
fn error_text(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {}", detail.trim_end_matches('.')),
        _ if matches!(error.kind(), ErrorKind::Parse) => {
            "the reply is not in the Redis protocol".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Returns whether the server is a replica, reported directly or from within a script.
pub(crate) fn is_read_only(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly))
        || error.detail().is_some_and(|detail| detail.contains("READONLY"))
}

/// Returns whether the script is missing on the server.
pub(crate) fn is_no_script(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::NoScript))
}

/// Returns whether the same server may carry out the request a moment later.
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

/// The advice when no answer arrives, or none that can be parsed.
const NOT_REDIS: &str = "check that Redis listens at this host and port, and that both sides use TLS \
                         (rediss://) or neither (redis://)";
/// The advice when the connection was closed. Over TLS, Redis closes it without an error.
const CLOSED: &str = "check that Redis listens at this host and port, and that both sides use TLS \
                      (rediss://) or neither (redis://); over TLS a Redis that has reached maxclients \
                      also closes connections without an error";

/// Returns advice for an error, after "; ", or an empty text.
fn advice(error: &RedisError) -> String {
    // In a script, Redis 6.2 reports this code within another error.
    let code = if is_read_only(error) { "READONLY" } else { error.code().unwrap_or_default() };
    let help = match code {
        "NOAUTH" => {
            "set a password (in the address: redis://user:password@host; for sentinels: \
             ?sentinel_password=…)"
        }
        "WRONGPASS" => "check the username and password",
        "NOPERM" => {
            "allow the user the commands and keys that the guide lists (docs/redis.md, ACL), including the \
             prefix of the keys"
        }
        "READONLY" => {
            "this server is a replica: connect to the master, with Sentinel or Cluster if it can change"
        }
        "OOM" => "Redis is out of memory: raise maxmemory, or set an eviction policy",
        "MISCONF" => "Redis cannot save to its disk and rejects writes: check its log",
        "LOADING" => "Redis is loading its data: try again later",
        "CLUSTERDOWN" => "some slots of the cluster have no master: check CLUSTER INFO",
        "MOVED" | "ASK" => {
            "this is a node of a cluster: use redis+cluster:// or RedisStorage::cluster"
        }
        "CROSSSLOT" => "this is a cluster: use redis+cluster:// or RedisStorage::cluster",
        "WRONGTYPE" | "RTCORRUPT" => {
            "another program writes to this key: give the storage its own key_prefix, or delete the key"
        }
        "NOREPLICAS" => "too few replicas are connected: check min-replicas-to-write",
        "BUSY" => "a script of another program blocks Redis: check its slow log",
        "DENIED" => "set a password in Redis (requirepass, or a user), and add it to the address",
        _ => match error.kind() {
            ErrorKind::AuthenticationFailed => "check the username and password",
            ErrorKind::Parse => NOT_REDIS,
            ErrorKind::RESP3NotSupported => "set protocol to 2, or use Redis 6.2 or later",
            ErrorKind::MasterNameNotFoundBySentinel => {
                "check the name of the master, and that the sentinels report it as up"
            }
            ErrorKind::Io if error.is_connection_refusal() => {
                "check that Redis is running, and check the port (for a Unix socket: the path)"
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
        "Redis is out of memory: raise maxmemory, or set an eviction policy"
    } else if let Some(help) = certificate_advice(text) {
        help
    } else if text.contains("max number of clients") {
        "Redis has reached its connection limit: raise maxclients, or check CLIENT LIST"
    } else if text.contains("Permission denied") {
        "allow this process to read and write the socket: check unixsocketperm of Redis and the file's group"
    } else if text.contains("NOPERM") || text.contains("can't run this command") {
        "allow the user the commands and keys that the guide lists (docs/redis.md, ACL)"
    } else if text.contains("WRONGTYPE") {
        "another program writes to this key: give the storage its own key_prefix"
    } else if text.contains("cluster support disabled") {
        "this server is not a node of a cluster: use redis://"
    } else if text.contains("not point to a sentinel") {
        "the address must list the sentinels (default port 26379), not the Redis servers"
    } else if text.contains("DB index") {
        "the database number in the address must be below `databases` of Redis (default 16)"
    } else {
        return String::new();
    };
    format!("; {help}")
}

/// Returns advice for a certificate, by the text of the rustls error.
fn certificate_advice(text: &str) -> Option<&'static str> {
    let help = [
        (
            "CaUsedAsEndEntity",
            "the server presents a CA certificate, as `openssl req -x509` creates by default: create the certificate \
             with `-addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:its-name`, and set `ca` to \
             its file",
        ),
        (
            "UnsupportedCertVersion",
            "the server's certificate has version 1: create one of version 3, with a subjectAltName",
        ),
        (
            "UnknownIssuer",
            "the server's certificate is not signed by a trusted CA: set `ca` to the CA's file",
        ),
        (
            "not valid for",
            "connect to a name in the server's certificate, or create a certificate with this subjectAltName",
        ),
        ("certificate expired", "renew the server's certificate, or correct the system clocks"),
        ("certificate not valid yet", "correct the system clocks"),
        (
            "CertificateRequired",
            "the server requires a client certificate: set one and its key (in the address: ?cert=…&key=…), or \
             change tls-auth-clients of Redis",
        ),
        (
            "UnknownCA",
            "the server does not trust the client certificate: check tls-ca-cert-file of Redis",
        ),
        (
            "ertificate",
            "check the CA and the client certificate, and that the server's certificate has its name",
        ),
    ];
    help.into_iter().find_map(|(words, help)| text.contains(words).then_some(help))
}
