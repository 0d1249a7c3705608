//! Requests that come while others are under way, sent together.
//!
//! Each request that is sent alone costs a write to the socket, a wake of the task that does it, and
//! on the other side a read. Those that find others under way wait until every task that can run now
//! has had its turn, and go in one write.

use std::{
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use redis::{Cmd, ErrorKind, Pipeline, RedisError, Value, aio::MultiplexedConnection};
use tokio::{sync::oneshot, task::yield_now};

use crate::error::checked;

/// Gathers what is to be sent on one connection.
#[derive(Default)]
pub(super) struct Batches {
    under_way: AtomicUsize,
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    command: Cmd,
    answer: oneshot::Sender<Result<Value, RedisError>>,
}

/// Counts a request as under way until it is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl Batches {
    /// Sends a command, at once where it is the only one.
    pub(super) async fn send(
        self: &Arc<Self>,
        connection: &MultiplexedConnection,
        command: &Cmd,
    ) -> Result<Value, RedisError> {
        let others = self.under_way.fetch_add(1, Relaxed);
        let _under_way = UnderWay(&self.under_way);
        if others == 0 {
            return connection.clone().send_packed_command(command).await.and_then(checked);
        }
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.push(Waiting { command: command.clone(), answer });
            waiting.len() == 1
        };
        if is_first {
            // A task of its own: the caller may go away, and the others' commands must not.
            let (batches, connection) = (Arc::clone(self), connection.clone());
            tokio::spawn(async move { batches.send_waiting(connection).await });
        }
        answered.await.unwrap_or_else(|_| Err(ended()))
    }

    async fn send_waiting(&self, mut connection: MultiplexedConnection) {
        yield_now().await;
        let waiting = mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let mut commands = Pipeline::with_capacity(waiting.len());
        let mut answers = Vec::with_capacity(waiting.len());
        // Whoever has gone away is not charged.
        for one in waiting.into_iter().filter(|one| !one.answer.is_closed()) {
            commands.add_command(one.command);
            answers.push(one.answer);
        }
        if answers.is_empty() {
            return;
        }
        match connection.send_packed_commands(&commands, 0, answers.len()).await {
            Ok(values) => {
                for (answer, value) in answers.into_iter().zip(values) {
                    let _ = answer.send(checked(value)); // it may have gone away meanwhile
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
            }
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn ended() -> RedisError {
    (ErrorKind::Io, "the task that sends requests has ended").into()
}

#[cfg(test)]
mod tests {
    use redis::{Client, cmd};
    use throttle_testbed::Server;

    use super::*;

    async fn connected(server: &Server) -> MultiplexedConnection {
        let client = Client::open(server.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    fn reads(server: &Server) -> u64 {
        let stats = server.command(&["INFO", "stats"]).to_string();
        let line = stats.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
        line.unwrap().trim().parse().unwrap()
    }

    #[tokio::test]
    async fn each_of_many_gets_its_own_answer_or_error_and_few_writes_carry_them() {
        let server = Server::start();
        server.command(&["SET", "text", "no number"]);
        let (connection, batches) = (connected(&server).await, Arc::new(Batches::default()));
        let before = reads(&server);
        let tasks: Vec<_> = (0..200)
            .map(|i| {
                let (connection, batches) = (connection.clone(), Arc::clone(&batches));
                tokio::spawn(async move {
                    let mut command = cmd(if i % 10 == 7 { "INCR" } else { "ECHO" });
                    command.arg(if i % 10 == 7 { "text".to_owned() } else { i.to_string() });
                    batches.send(&connection, &command).await
                })
            })
            .collect();
        for (i, task) in tasks.into_iter().enumerate() {
            match task.await.unwrap() {
                Err(error) => assert!(i % 10 == 7 && error.to_string().contains("integer")),
                Ok(answer) => assert_eq!(answer, Value::BulkString(i.to_string().into_bytes())),
            }
        }
        let reads = reads(&server) - before;
        assert!(reads < 50, "{reads} reads for 200 commands");
        assert_eq!(batches.under_way.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn who_leaves_before_the_batch_is_sent_is_not_charged_and_the_others_are() {
        let server = Server::start();
        let (connection, batches) = (connected(&server).await, Arc::new(Batches::default()));
        let mut count = cmd("INCR");
        count.arg("count");
        let first = batches.send(&connection, &count); // alone: sent at once
        let leaving = batches.send(&connection, &count);
        let staying = batches.send(&connection, &count);
        let mut leaving = Box::pin(leaving);
        let both = async {
            // Each is asked once, in order, so that the one that leaves begins the batch.
            let mut first = std::pin::pin!(first);
            let mut staying = std::pin::pin!(staying);
            std::future::poll_fn(|cx| {
                let _ = first.as_mut().poll(cx);
                assert!(leaving.as_mut().poll(cx).is_pending());
                assert!(staying.as_mut().poll(cx).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            drop(leaving);
            staying.await
        };
        both.await.unwrap();
        assert_eq!(server.command(&["GET", "count"]).to_string(), "2");
    }

    #[tokio::test]
    async fn a_connection_that_is_lost_is_an_error_for_all_of_the_batch() {
        let server = Server::start();
        let (connection, batches) = (connected(&server).await, Arc::new(Batches::default()));
        let mut block = cmd("BLPOP");
        block.arg("none").arg(0);
        let tasks: Vec<_> = (0..3)
            .map(|_| {
                let (connection, batches) = (connection.clone(), Arc::clone(&batches));
                let block = block.clone();
                tokio::spawn(async move { batches.send(&connection, &block).await })
            })
            .collect();
        while !server.command(&["CLIENT", "LIST"]).to_string().contains("cmd=blpop") {
            tokio::task::yield_now().await;
        }
        server.command(&["CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "yes"]);
        for task in tasks {
            assert!(task.await.unwrap().unwrap_err().is_unrecoverable_error());
        }
    }
}
