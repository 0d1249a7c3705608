//! One server.

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
    wait::{self, PATIENCE},
};

/// A user of every server, with its own name as the password: the testbed gets in whatever a test
/// asks of the others, and so do replicas and Sentinels.
pub(crate) const ADMIN: &str = "testbed";

const SOCKET: &str = "redis.sock";
const LOG: &str = "redis.log";
const ATTEMPTS: usize = 3;

/// Holds a server of its own, on a free port of 127.0.0.1 and in a temporary folder.
///
/// The server is killed and its folder removed when the handle is dropped, and when the test's
/// process is killed. Besides the users that a test asks for there is one named `testbed`, who may
/// do everything.
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
    /// Returns the one port that it listens on, with TLS if that was asked for.
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

    /// Returns the files of the certificates.
    ///
    /// # Panics
    ///
    /// If the server was started without TLS.
    #[must_use]
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("the server was started without `.tls()`")
    }

    /// Returns the folder of the server, which holds its log and what it saves.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the path of the Unix socket that it listens on, besides its port.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder().join(SOCKET)
    }

    /// Returns what the server logged since its first start.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read(self.folder().join(LOG))
            .map(|log| String::from_utf8_lossy(&log).into_owned())
            .unwrap_or_default()
    }

    /// Sends a command, whatever password, TLS or proxy stands before other clients.
    ///
    /// # Panics
    ///
    /// If the server answers with an error, or not at all.
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

    /// Sends a command as [`command`](Self::command) does; the reply may be an error of the server.
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

    /// Returns the process number of the server.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running().as_ref().expect("the server does not run").process.pid()
    }

    /// Returns whether it was started, and neither stopped nor paused since.
    #[must_use]
    pub fn is_running(&self) -> bool {
        match &mut *self.running() {
            Some(running) => !running.paused && running.process.has_ended().is_none(),
            None => false,
        }
    }

    /// Kills the server, as a crash would, and returns when it is gone. The port stays reserved.
    pub fn kill(&self) {
        if let Some(running) = self.running().take() {
            running.process.end();
        }
    }

    /// Lets the server shut down in its own way, and returns when it is gone.
    ///
    /// # Panics
    ///
    /// If it is still there after half a minute.
    pub fn stop(&self) {
        let Some(mut running) = self.running().take() else { return };
        running.process.signal(Signal::TERM);
        // A paused one reads the signal when it goes on.
        running.process.signal(Signal::CONT);
        wait::until("redis-server to shut down", PATIENCE, || running.process.has_ended());
        running.process.end();
    }

    /// Starts the server again on the same port and in the same folder; kills it before if it runs.
    ///
    /// The data is gone, unless an option such as `appendonly yes` kept it.
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

    /// Freezes the server: connections stay open, and nothing is answered.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub fn pause(&self) {
        self.freeze(Signal::STOP, true);
    }

    /// Lets a paused server go on, with the requests that came meanwhile.
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
        // That of a server which was killed would pass for the new one's.
        let _ = fs::remove_file(self.socket());
        let process = Process::start(self.folder(), &self.configuration, self.arguments);
        *self.running() = Some(Running { process, paused: false });
    }

    /// # Errors
    ///
    /// If it ended instead, with what it said.
    pub(crate) fn wait_until_ready(&self) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
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
                return Err(format!("no PONG after {PATIENCE:?}: {}", self.log()));
            }
            wait::pause(std::time::Duration::from_millis(2));
        }
    }

    /// Asks again until the words are in the answer so many times.
    pub(crate) fn wait_until_it_says(&self, command: &[&str], words: &str, times: usize) {
        let what = format!("{} to say {words:?} to `{}`", self.address(), command.join(" "));
        wait::until(&what, PATIENCE, || {
            let said = self.try_command(command).ok()?.to_string();
            (said.matches(words).count() == times).then_some(())
        });
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts what may fail once, when something else on the machine took the port a moment before.
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
