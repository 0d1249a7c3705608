//! A Redis server.

mod builder;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use rustix::process::Signal;
use tempfile::TempDir;

pub use self::builder::ServerBuilder;
use crate::{
    certificates::Certificates,
    port::Port,
    process::Process,
    resp::{Connection, Reply},
    wait::{self, DEFAULT_TIMEOUT},
};

/// The testbed's own user on every server, whose password is its name. The testbed, replicas and Sentinels log in
/// as this user, regardless of the users that a test adds.
pub(crate) const ADMIN: &str = "testbed";

const SOCKET: &str = "redis.sock";
const LOG: &str = "redis.log";
const ATTEMPTS: usize = 3;

/// A Redis server on a free port of 127.0.0.1, in a temporary folder.
///
/// When the handle is dropped, or the test's process is killed, the server is killed and its folder is
/// removed. In addition to the users of the test there is a user `testbed` with all permissions.
///
/// # Examples
///
/// ```
/// let redis = throttle_testbed::Server::start();
/// assert_eq!(redis.command(&["PING"]).to_string(), "PONG");
/// ```
#[derive(Debug)]
pub struct Server {
    port: Port,
    folder: TempDir,
    configuration: PathBuf,
    arguments: &'static [&'static str],
    password: Option<String>,
    certificates: Option<Certificates>,
    process: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    process: Process,
    paused: bool,
}

impl Server {
    /// Returns the port of the server, which uses TLS if the builder enabled it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns `127.0.0.1:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Returns `redis://…` or `rediss://…`, with the password of the default user if it has one.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.password {
            Some(password) => self.url_as("", password),
            None => format!("{}://{}", self.scheme(), self.address()),
        }
    }

    /// Returns the URL for a user.
    #[must_use]
    pub fn url_as(&self, user: &str, password: &str) -> String {
        let (user, password) = (percent_encoded(user), percent_encoded(password));
        format!("{}://{user}:{password}@{}", self.scheme(), self.address())
    }

    fn scheme(&self) -> &'static str {
        if self.certificates.is_some() { "rediss" } else { "redis" }
    }

    /// Returns the paths of the certificates.
    ///
    /// # Panics
    ///
    /// If the server was started without TLS.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("the server was started without `.tls()`")
    }

    /// Returns the folder of the server, with its log and its data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the path of the server's Unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder().join(SOCKET)
    }

    /// Returns the log of the server since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.folder().join(LOG))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Sends a command, independent of the passwords, TLS and proxies of other clients.
    ///
    /// # Panics
    ///
    /// If the server answers with an error, or does not answer.
    #[track_caller]
    pub fn command<A: AsRef<[u8]>>(&self, command: &[A]) -> Reply {
        let spelled = || {
            let parts = command.iter().map(|part| String::from_utf8_lossy(part.as_ref()));
            parts.collect::<Vec<_>>().join(" ")
        };
        match self.try_command(command) {
            Ok(Reply::Error(words)) => {
                panic!("{} answered `{}` with: {words}", self.address(), spelled())
            }
            Ok(reply) => reply,
            Err(e) => panic!("{} did not answer `{}`: {e}", self.address(), spelled()),
        }
    }

    /// Sends a command like [`command`](Self::command). The reply may be an error of the server.
    ///
    /// # Errors
    ///
    /// If the server does not run, or does not answer within five seconds.
    pub fn try_command<A: AsRef<[u8]>>(&self, command: &[A]) -> std::io::Result<Reply> {
        let mut connection = Connection::open(&self.socket())?;
        match connection.call(&["AUTH", ADMIN, ADMIN])? {
            Reply::Error(words) => Ok(Reply::Error(words)),
            _ => connection.call(command),
        }
    }

    /// Returns the process ID of the server.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running().as_ref().expect("the server does not run").process.pid()
    }

    /// Returns whether the server runs, and is not paused.
    #[must_use]
    pub fn is_running(&self) -> bool {
        match &mut *self.running() {
            Some(running) => !running.paused && running.process.has_ended().is_none(),
            None => false,
        }
    }

    /// Kills the server like a crash, and returns when its process has ended. The port stays reserved.
    pub fn kill(&self) {
        if let Some(running) = self.running().take() {
            running.process.end();
        }
    }

    /// Shuts the server down cleanly, and returns when its process has ended.
    ///
    /// # Panics
    ///
    /// If it still runs after half a minute.
    pub fn stop(&self) {
        let Some(mut running) = self.running().take() else { return };
        running.process.signal(Signal::TERM);
        // A paused server handles the signal only after it is resumed.
        running.process.signal(Signal::CONT);
        wait::until("redis-server to shut down", DEFAULT_TIMEOUT, || running.process.has_ended());
        running.process.end();
    }

    /// Restarts the server on the same port and in the same folder. If it runs, it is killed first.
    ///
    /// The data are lost, unless an option such as `appendonly yes` keeps them.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&self) {
        attempt(|| {
            self.kill();
            self.launch();
            self.wait_until_ready()
        });
    }

    /// Freezes the server: connections stay open, and no request is answered.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn pause(&self) {
        self.freeze(Signal::STOP, true);
    }

    /// Resumes a paused server, which then handles the requests that arrived in the meantime.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn resume(&self) {
        self.freeze(Signal::CONT, false);
    }

    fn freeze(&self, signal: Signal, paused: bool) {
        let mut running = self.running();
        let running = running.as_mut().expect("the server does not run");
        running.process.signal(signal);
        running.paused = paused;
    }

    pub(crate) fn bus(&self) -> u16 {
        self.port.bus()
    }

    pub(crate) fn launch(&self) {
        // The socket of a killed server would be mistaken for the socket of the new server.
        let _ = fs::remove_file(self.socket());
        let process = Process::start(self.folder(), &self.configuration, self.arguments);
        *self.running() = Some(Running { process, paused: false });
    }

    /// Waits until the server answers.
    ///
    /// # Errors
    ///
    /// If the server ended instead. The error has its output.
    pub(crate) fn wait_until_ready(&self) -> Result<(), String> {
        let end = Instant::now() + DEFAULT_TIMEOUT;
        loop {
            if self.try_command(&["PING"]).is_ok_and(|reply| reply.bytes() == b"PONG") {
                return Ok(());
            }
            let ended = match &mut *self.running() {
                Some(running) => running.process.has_ended(),
                None => return Err("it was killed".to_owned()),
            };
            if let Some(printed) = ended {
                return Err(format!("it ended at once: {printed}{}", self.log()));
            }
            if Instant::now() > end {
                return Err(format!("no PONG after {DEFAULT_TIMEOUT:?}: {}", self.log()));
            }
            wait::pause(std::time::Duration::from_millis(2));
        }
    }

    /// Repeats a command until its answer contains the words this number of times.
    pub(crate) fn wait_for_words(&self, command: &[&str], words: &str, times: usize) {
        let what = format!("{} to answer {words:?} to `{}`", self.address(), command.join(" "));
        wait::until(&what, DEFAULT_TIMEOUT, || {
            let said = self.try_command(command).ok()?.to_string();
            (said.matches(words).count() == times).then_some(())
        });
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls `start` up to three times. It may fail if another program took the port a moment before.
///
/// # Panics
///
/// If it fails every time.
pub(crate) fn attempt<T>(start: impl Fn() -> Result<T, String>) -> T {
    let mut reason = String::new();
    for _ in 0..ATTEMPTS {
        match start() {
            Ok(started) => return started,
            Err(e) => reason = e,
        }
    }
    panic!("redis-server did not start, {ATTEMPTS} times in a row: {reason}");
}

fn percent_encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}
