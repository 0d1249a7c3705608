//! The pipeliner, which sends requests that arrive together in one write.
//!
//! A request that is sent alone costs a write to the socket, a wake-up of the task that writes, and a read in
//! Redis. While requests are in flight, new requests are queued until all ready tasks have run. Then the
//! queue is sent as one batch.
//!
//! The batches in flight and the queue are bounded. Under overload, requests whose callers stopped waiting are
//! never sent, and requests that find the queue full fail at once.

use std::{
    collections::VecDeque,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use redis::{Cmd, ErrorKind, Pipeline, RedisError, Value};
use tokio::{
    sync::{Semaphore, oneshot},
    task::yield_now,
};

use crate::{error::checked, transport::RequestSender};

/// The maximum number of batches in flight. With several, a slow answer does not delay the next batch.
const MAX_BATCHES: usize = 32;
/// The maximum number of commands in a batch.
const MAX_BATCH_SIZE: usize = 512;
/// The maximum number of commands in the queue, about the number that Redis processes in 0.1 s.
pub(super) const MAX_QUEUED: usize = 16_384;

/// The pipeliner of one connection.
pub(super) struct Pipeliner {
    in_flight: AtomicUsize,
    queue: Mutex<Queue>,
    batch_permits: Semaphore,
    /// A semaphore without permits, which is closed when the connection is dropped.
    abandoned: Semaphore,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<QueuedCommand>,
    /// No more commands are sent.
    is_closed: bool,
}

struct QueuedCommand {
    command: Cmd,
    answer: Answer,
}

type Answer = oneshot::Sender<Sent<Value>>;

/// The result of a command: its answer, or the reason why it was not sent.
pub(super) type Sent<T> = Result<Result<T, RedisError>, Unsent>;

/// The reason why a command was certainly not sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Unsent {
    /// The queue is full.
    Full,
    /// The connection ended before the command was written.
    Closed,
}

/// Sends a command by polling `sent`, and detects if it was never written.
pub(super) async fn detect_unsent<T>(
    sender: &RequestSender,
    sent: impl Future<Output = Result<T, RedisError>>,
) -> Sent<T> {
    let written = sender.wire.written();
    match sent.await {
        Err(_) if sender.wire.ended_unwritten_since(written) => Err(Unsent::Closed),
        answer => Ok(answer),
    }
}

/// A guard that counts a request as in flight until it is dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl Default for Pipeliner {
    fn default() -> Self {
        Self {
            in_flight: AtomicUsize::default(),
            queue: Mutex::default(),
            batch_permits: Semaphore::new(MAX_BATCHES),
            abandoned: Semaphore::new(0),
        }
    }
}

impl Pipeliner {
    /// Sends a command, at once if no other is in flight.
    pub(super) async fn send(
        self: &Arc<Self>,
        sender: &RequestSender,
        command: &Cmd,
    ) -> Sent<Value> {
        let others = self.in_flight.fetch_add(1, Relaxed);
        let _in_flight = InFlight(&self.in_flight);
        if others == 0 {
            let mut multiplexed = sender.multiplexed.clone();
            let answer = detect_unsent(sender, multiplexed.send_packed_command(command)).await?;
            return Ok(answer.and_then(checked));
        }
        let (answer, answered) = oneshot::channel();
        if self.enqueue(QueuedCommand { command: command.clone(), answer })? {
            // A separate task: the caller may stop waiting, but the commands of others must be sent.
            self.spawn_batch(sender.clone());
        }
        answered.await.unwrap_or_else(|_| Ok(Err(ended())))
    }

    /// Fails the queued commands and all later ones, because the connection has ended.
    pub(super) fn close(&self) {
        let waiting = {
            let mut queue = self.queue();
            queue.is_closed = true;
            std::mem::take(&mut queue.waiting)
        };
        for one in waiting {
            let _ = one.answer.send(Err(Unsent::Closed)); // fails if the caller stopped waiting
        }
    }

    /// Fails all commands, queued and in flight, so that no task keeps the connection open.
    pub(super) fn abandon(&self) {
        self.batch_permits.close();
        self.abandoned.close();
        self.close();
    }

    /// Queues a command. Returns whether it is the first in the queue. Then a task must be spawned to send it.
    fn enqueue(&self, one: QueuedCommand) -> Result<bool, Unsent> {
        let mut queue = self.queue();
        if queue.is_closed {
            return Err(Unsent::Closed);
        }
        let waiting = &mut queue.waiting;
        if waiting.len() >= MAX_QUEUED {
            // Callers usually stop waiting in the order of their arrival. So if the first caller still waits, a
            // scan of the queue would find little.
            if waiting.front().is_some_and(|first| !first.answer.is_closed()) {
                return Err(Unsent::Full);
            }
            waiting.retain(|one| !one.answer.is_closed());
        }
        waiting.push_back(one);
        Ok(waiting.len() == 1)
    }

    fn spawn_batch(self: &Arc<Self>, sender: RequestSender) {
        let pipeliner = Arc::clone(self);
        // The runtime of the connection: commands of other callers must outlive the runtime of this caller.
        let runtime = sender.runtime.clone();
        runtime.spawn(async move {
            yield_now().await;
            pipeliner.send_batch(sender).await;
        });
    }

    async fn send_batch(self: &Arc<Self>, sender: RequestSender) {
        let Ok(_permit) = self.batch_permits.acquire().await else {
            return; // the queued commands got an error already
        };
        let (commands, answers) = self.batch(&sender);
        if answers.is_empty() {
            return;
        }
        let mut multiplexed = sender.multiplexed.clone();
        let sent = multiplexed.send_packed_commands(&commands, 0, answers.len());
        let answered = tokio::select! {
            answered = detect_unsent(&sender, sent) => answered,
            _ = self.abandoned.acquire() => Ok(Err(ended())),
        };
        // Sending an answer fails if its caller stopped waiting.
        match answered {
            Ok(Ok(values)) => {
                for (answer, value) in answers.into_iter().zip(values) {
                    let _ = answer.send(Ok(checked(value)));
                }
            }
            Ok(Err(error)) => {
                for answer in answers {
                    let _ = answer.send(Ok(Err(error.clone())));
                }
            }
            Err(unsent) => {
                for answer in answers {
                    let _ = answer.send(Err(unsent));
                }
            }
        }
    }

    /// Takes a batch from the front of the queue, without commands whose callers stopped waiting. If more commands
    /// are queued, spawns the task for the next batch.
    fn batch(self: &Arc<Self>, sender: &RequestSender) -> (Pipeline, Vec<Answer>) {
        let waiting = &mut self.queue().waiting;
        let room = waiting.len().min(MAX_BATCH_SIZE);
        let (mut commands, mut answers) = (Pipeline::with_capacity(room), Vec::with_capacity(room));
        while answers.len() < MAX_BATCH_SIZE
            && let Some(one) = waiting.pop_front()
        {
            // The caller of a closed channel stopped waiting, and must not be charged.
            if !one.answer.is_closed() {
                commands.add_command(one.command);
                answers.push(one.answer);
            }
        }
        if !waiting.is_empty() {
            self.spawn_batch(sender.clone());
        }
        (commands, answers)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

fn ended() -> RedisError {
    (ErrorKind::Io, "the task that sends requests has ended").into()
}

#[cfg(test)]
mod tests;
