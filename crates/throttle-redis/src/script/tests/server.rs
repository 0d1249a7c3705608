//! A Redis server of a test's own, on a socket in a directory of its own.

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use redis::{Client, Cmd, Connection, FromRedisValue, RedisResult, Value};
use throttle_core::{Charge, Micros, Outcome, Refund, StorageError};

use crate::script::{self, Op};

/// Runs until it is dropped.
pub(super) struct Server {
    process: Child,
    directory: PathBuf,
    connection: Connection,
}

impl Server {
    pub(super) fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("throttle-redis-{}-{}", process::id(), NEXT.fetch_add(1, Relaxed));
        let directory = env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let socket = directory.join("socket");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(&socket)
            .current_dir(&directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let client = Client::open(format!("redis+unix://{}", socket.display())).unwrap();
        let connection = connect(&client);
        let mut server = Self { process, directory, connection };
        assert_eq!(server.ask::<String>(&script::load()), Ok(script::sha().to_owned()));
        server
    }

    /// Sends a command, and reads its answer.
    pub(super) fn ask<T: FromRedisValue>(&mut self, cmd: &Cmd) -> RedisResult<T> {
        cmd.query(&mut self.connection)
    }

    /// Sends a command that is written as its words.
    pub(super) fn send<T: FromRedisValue>(&mut self, words: &str) -> T {
        let mut cmd = Cmd::new();
        words.split(' ').for_each(|word| {
            cmd.arg(word);
        });
        self.ask(&cmd).unwrap()
    }

    pub(super) fn acquire(
        &mut self,
        op: Op,
        charges: &[Charge<'_>],
        now: Option<Micros>,
    ) -> Result<Outcome, StorageError> {
        let keys: Vec<_> = charges.iter().map(storage_key).collect();
        let value = self.call(&script::acquire(op, &keys, charges, now)?, &keys)?;
        script::outcome(&value, charges.len())
    }

    pub(super) fn refund(
        &mut self,
        refunds: &[Refund<'_>],
        now: Option<Micros>,
    ) -> Result<(), StorageError> {
        let keys: Vec<_> = refunds.iter().map(|refund| storage_key(&refund.charge())).collect();
        let value = self.call(&script::refund(&keys, refunds, now)?, &keys)?;
        script::refunded(&value)
    }

    fn call(&mut self, cmd: &Cmd, keys: &[String]) -> Result<Value, StorageError> {
        self.ask(cmd).map_err(|error| match script::corrupt(&error, keys) {
            Some(corrupt) => corrupt,
            None => StorageError::other(error),
        })
    }
}

pub(super) fn storage_key(charge: &Charge<'_>) -> String {
    format!("rt:{}", charge.storage_key())
}

fn connect(client: &Client) -> Connection {
    let started = Instant::now();
    loop {
        match client.get_connection() {
            Ok(connection) => return connection,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(10), "{error}"),
        }
        std::thread::yield_now();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
