//! A process of `redis-server`, which ends with the process that started it.

use std::{
    env,
    ffi::OsString,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use rustix::{
    io::ioctl_fionbio,
    process::{Pid, Signal, kill_process},
};

const BINARY: &str = "RATETHROTTLE_REDIS_SERVER";

/// Starts the server `$1` with the rest of the arguments, in the folder `$0`, and waits for a line.
///
/// [`Process::end`] sends the line. If the test is killed instead, the pipe closes, and the watchdog
/// removes the folder.
const WATCHDOG: &str = r#"
sh -c 'echo $$; exec "$@"' sh "$@" </dev/null 2>&1 &
server=$!
exec >&-
read -r line
kill -9 $server
wait $server
[ -n "$line" ] || rm -rf "$0"
"#;

/// A running server and its watchdog, a shell.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    watchdog: Child,
    /// The output of the server before it logs to its file, which ends with the server.
    output: BufReader<ChildStdout>,
    printed: Vec<u8>,
}

impl Process {
    /// Starts a server.
    ///
    /// # Panics
    ///
    /// If `sh` or `redis-server` is not installed.
    pub(crate) fn start(folder: &Path, configuration: &Path, arguments: &[&str]) -> Self {
        let binary = binary();
        let mut watchdog = Command::new("sh")
            .arg("-c")
            .arg(WATCHDOG)
            .arg(folder)
            .arg(&binary)
            .arg(configuration)
            .args(arguments)
            // A signal to the process group of a test that hangs must not end the watchdog.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("cannot start sh, the watchdog of redis-server");
        let mut output = BufReader::new(watchdog.stdout.take().expect("it was piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("cannot read the server's process ID");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw);
        let pid = pid.unwrap_or_else(|| panic!("not a process ID: {line:?}"));
        ioctl_fionbio(output.get_ref(), true).expect("a pipe can be non-blocking");
        Self { pid, watchdog, output, printed: Vec::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the watchdog has not reaped the process");
    }

    /// Returns the output of the server if it has ended, and `None` while it runs.
    pub(crate) fn has_ended(&mut self) -> Option<String> {
        // Output before `WouldBlock` is kept for the next call.
        match self.output.read_to_end(&mut self.printed) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => None,
            _ => Some(String::from_utf8_lossy(&self.printed).into_owned()),
        }
    }

    /// Kills the server, and waits until its process has ended. Its folder stays.
    pub(crate) fn end(mut self) {
        let stdin = self.watchdog.stdin.as_mut().expect("it was piped");
        stdin.write_all(b"keep\n").expect("the watchdog waits for this line");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // Errors are ignored: nothing is left to do, and a second panic would hide the first.
        let _ = self.watchdog.wait();
    }
}

/// Returns the program of the server.
///
/// # Panics
///
/// If it cannot be run.
fn binary() -> OsString {
    let binary = env::var_os(BINARY).unwrap_or_else(|| "redis-server".into());
    let found = if Path::new(&binary).components().count() > 1 {
        Path::new(&binary).is_file()
    } else {
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).any(|folder| folder.join(&binary).is_file())
    };
    assert!(
        found,
        "{} is not installed, and these tests run against it: install Debian's package \
         `redis-server` (apt-get install redis-server), or name a server in {BINARY}",
        binary.display()
    );
    binary
}
