//! Requests that come while others are under way, sent together.
//!
//! Each request that is sent alone costs a write to the socket, a wake of the task that does it, and
//! on the other side a read. Those that find others under way wait until every task that can run now
//! has had its turn, and go in one write.
//!
//! What Redis has not answered is bounded, and so is what waits: of a load that it cannot carry, those
//! whose callers have gone away are never sent, and those that find no room are told so at once.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use redis::{Cmd, ErrorKind, Pipeline, RedisError, Value, aio::MultiplexedConnection};
use tokio::{
    sync::{Semaphore, oneshot},
    task::yield_now,
};

use crate::error::checked;

/// So many batches may be unanswered, so that answers that take long keep nobody waiting.
const MOST_BATCHES: usize = 32;
/// So many commands go in one batch.
const LARGEST: usize = 512;
/// So many commands wait: what Redis does in a tenth of a second.
pub(super) const MOST_WAITING: usize = 16_384;

/// Gathers what is to be sent on one connection.
pub(super) struct Batches {
    under_way: AtomicUsize,
    waiting: Mutex<VecDeque<Waiting>>,
    unanswered: Semaphore,
    /// Closed when nobody waits for answers any more.
    over: Semaphore,
}

struct Waiting {
    command: Cmd,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<Value, RedisError>>;

/// Says that a command was not sent, because too many wait.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Full;

/// Counts a request as under way until it is dropped.
struct UnderWay<'a>(&'a AtomicUsize);

impl Default for Batches {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::default(),
            waiting: Mutex::default(),
            unanswered: Semaphore::new(MOST_BATCHES),
            over: Semaphore::new(0),
        }
    }
}

impl Batches {
    /// Sends a command, at once where it is the only one.
    pub(super) async fn send(
        self: &Arc<Self>,
        connection: &MultiplexedConnection,
        command: &Cmd,
    ) -> Result<Result<Value, RedisError>, Full> {
        let others = self.under_way.fetch_add(1, Relaxed);
        let _under_way = UnderWay(&self.under_way);
        if others == 0 {
            let answer = connection.clone().send_packed_command(command).await;
            return Ok(answer.and_then(checked));
        }
        let (answer, answered) = oneshot::channel();
        if self.wait(Waiting { command: command.clone(), answer })? {
            // A task of its own: the caller may go away, and the others' commands must not.
            self.send_waiting(connection.clone());
        }
        Ok(answered.await.unwrap_or_else(|_| Err(ended())))
    }

    /// Lets go of the connection: nobody is told any more what it answers.
    pub(super) fn give_up(&self) {
        self.unanswered.close();
        self.over.close();
        self.forget_waiting();
    }

    fn forget_waiting(&self) {
        let waiting =
            std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        drop(waiting); // not under the lock: it wakes those who wait
    }

    /// Returns whether it is the only one, so that there is nobody yet who sends it.
    fn wait(&self, one: Waiting) -> Result<bool, Full> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST_WAITING {
            // Who came first leaves first.
            if waiting.front().is_some_and(|first| !first.answer.is_closed()) {
                return Err(Full);
            }
            waiting.retain(|one| !one.answer.is_closed());
        }
        waiting.push_back(one);
        Ok(waiting.len() == 1)
    }

    fn send_waiting(self: &Arc<Self>, connection: MultiplexedConnection) {
        let batches = Arc::clone(self);
        tokio::spawn(async move {
            yield_now().await;
            batches.send_batch(connection).await;
        });
    }

    async fn send_batch(self: &Arc<Self>, mut connection: MultiplexedConnection) {
        let Ok(_permit) = self.unanswered.acquire().await else {
            return self.forget_waiting();
        };
        let (commands, answers) = self.batch(&connection);
        if answers.is_empty() {
            return;
        }
        let sent = connection.send_packed_commands(&commands, 0, answers.len());
        let answered = tokio::select! {
            answered = sent => answered,
            _ = self.over.acquire() => Err(ended()),
        };
        match answered {
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

    /// Takes those that came first and whose callers are still there. Others follow, if there are more.
    fn batch(self: &Arc<Self>, connection: &MultiplexedConnection) -> (Pipeline, Vec<Answer>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let room = waiting.len().min(LARGEST);
        let (mut commands, mut answers) = (Pipeline::with_capacity(room), Vec::with_capacity(room));
        while answers.len() < LARGEST
            && let Some(one) = waiting.pop_front()
        {
            // Whoever has gone away is not charged.
            if !one.answer.is_closed() {
                commands.add_command(one.command);
                answers.push(one.answer);
            }
        }
        if !waiting.is_empty() {
            self.send_waiting(connection.clone());
        }
        (commands, answers)
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
    use redis::{AsyncConnectionConfig, Client, cmd};
    use throttle_testbed::Server;

    use super::*;

    async fn connected(server: &Server) -> MultiplexedConnection {
        let client = Client::open(server.url()).unwrap();
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
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
                    batches.send(&connection, &command).await.unwrap()
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
        both.await.unwrap().unwrap();
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
                tokio::spawn(async move { batches.send(&connection, &block).await.unwrap() })
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

    #[tokio::test]
    async fn a_connection_that_hangs_and_is_given_up_is_held_by_nobody() {
        let server = Server::start();
        let (connection, batches) = (connected(&server).await, Arc::new(Batches::default()));
        server.pause();
        let count = cmd("INCR").arg("count").to_owned();
        let ask = || {
            let (connection, batches, count) =
                (connection.clone(), Arc::clone(&batches), count.clone());
            tokio::spawn(async move { batches.send(&connection, &count).await })
        };
        let alone = ask();
        tokio::task::yield_now().await;
        let together: Vec<_> = (0..3).map(|_| ask()).collect();
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        assert!(Arc::strong_count(&batches) > 1);
        batches.give_up();
        for one in together {
            assert!(one.await.unwrap().unwrap().unwrap_err().is_io_error());
        }
        assert!(ask().await.unwrap().unwrap().is_err(), "who comes too late is not left waiting");
        alone.abort();
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(Arc::strong_count(&batches), 1);
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_who_has_left_makes_room_and_is_never_sent() {
        let server = Server::start();
        let (connection, batches) = (connected(&server).await, Arc::new(Batches::default()));
        let mut count = cmd("INCR");
        count.arg("count");
        server.pause();
        let ask = || {
            let (connection, batches) = (connection.clone(), Arc::clone(&batches));
            let count = count.clone();
            tokio::spawn(async move { batches.send(&connection, &count).await })
        };
        // One alone, batches as large as may be unanswered, and as many as may wait.
        let mut sent = vec![ask()];
        tokio::task::yield_now().await;
        for _ in 0..MOST_BATCHES {
            sent.extend((0..LARGEST).map(|_| ask()));
            while batches.unanswered.available_permits() + sent.len() / LARGEST > MOST_BATCHES {
                tokio::task::yield_now().await;
            }
        }
        let leaving: Vec<_> = (0..MOST_WAITING).map(|_| ask()).collect();
        while batches.waiting.lock().unwrap().len() < MOST_WAITING {
            tokio::task::yield_now().await;
        }
        assert_eq!(ask().await.unwrap(), Err(Full), "told at once, while Redis hangs");
        leaving.iter().for_each(tokio::task::JoinHandle::abort);
        for one in leaving {
            assert!(one.await.unwrap_err().is_cancelled());
        }
        let staying = ask();
        server.resume();
        let total = sent.len() + 1;
        for one in sent {
            one.await.unwrap().unwrap().unwrap();
        }
        assert_eq!(staying.await.unwrap(), Ok(Ok(Value::Int(i64::try_from(total).unwrap()))));
        assert_eq!(server.command(&["GET", "count"]).to_string(), total.to_string());
        assert_eq!(batches.unanswered.available_permits(), MOST_BATCHES);
    }
}
