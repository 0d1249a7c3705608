//! A Redis server for one test, and a connection that has loaded the script.

use redis::{Client, Cmd, Connection, FromRedisValue, RedisResult, Value};
use throttle_core::{Charge, Micros, Outcome, Refund, StorageError};

use crate::{
    lua::{CHECK, ScriptCall},
    script::{self, Op},
};

/// A server that runs until this is dropped.
pub(super) struct Server {
    connection: Connection,
    _server: throttle_testbed::Server,
}

impl Server {
    pub(super) fn start() -> Self {
        let server = throttle_testbed::Server::start();
        let connection = Client::open(server.url()).unwrap().get_connection().unwrap();
        let mut server = Self { connection, _server: server };
        assert_eq!(server.ask::<String>(&CHECK.load()), Ok(CHECK.sha().to_owned()));
        server
    }

    /// Sends a command, and returns its answer.
    pub(super) fn ask<T: FromRedisValue>(&mut self, cmd: &Cmd) -> RedisResult<T> {
        cmd.query(&mut self.connection)
    }

    /// Sends a command given as words that are separated by spaces.
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
        script::outcome(&value, &keys)
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

    fn call(&mut self, call: &ScriptCall, keys: &[String]) -> Result<Value, StorageError> {
        self.ask(call.command()).map_err(|error| match script::corrupt(&error, keys) {
            Some(corrupt) => corrupt,
            None => StorageError::other(error),
        })
    }
}

pub(super) fn storage_key(charge: &Charge<'_>) -> String {
    format!("rt:{}", charge.storage_key())
}
