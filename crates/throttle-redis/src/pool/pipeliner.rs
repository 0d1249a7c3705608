//! Requests that come while others are in flight, sent together.
//!
//! Each request that is sent alone costs a write to the socket, a wake of the task that does it, and
//! on the other side a read. Those that find others in flight wait until every task that can run now
//! has run, and go in one write.
//!
//! What Redis has not answered is bounded, and so is what waits: of a load that it cannot carry, those
//! whose callers have gone away are never sent, and those that find no room fail at once.

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

/// So many batches may be batch_permits, so that answers that take long keep nobody waiting.
const MAX_BATCHES: usize = 32;
/// So many commands go in one batch.
const MAX_BATCH_SIZE: usize = 512;
/// So many commands wait: what Redis does in a tenth of a second.
pub(super) const MAX_QUEUED: usize = 16_384;

/// Gathers what is to be sent on one connection.
pub(super) struct Pipeliner {
    in_flight: AtomicUsize,
    queue: Mutex<Queue>,
    batch_permits: Semaphore,
    /// Closed when nobody waits for answers any more.
    abandoned: Semaphore,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<QueuedCommand>,
    /// Nothing more is sent.
    is_closed: bool,
}

struct QueuedCommand {
    command: Cmd,
    answer: Answer,
}

type Answer = oneshot::Sender<Sent<Value>>;

/// What came of a command.
pub(super) type Sent<T> = Result<Result<T, RedisError>, Unsent>;

/// Says why a command was not sent, for certain.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Unsent {
    /// Too many wait.
    Full,
    /// The connection ended before.
    Closed,
}

/// Waits for the answer to what is sent only now, and tells what was never written.
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

/// Counts a request as in flight until it is dropped.
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
    /// Sends a command, at once where it is the only one.
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
            // A task of its own: the caller may go away, and the others' commands must not.
            self.spawn_batch(sender.clone());
        }
        answered.await.unwrap_or_else(|_| Ok(Err(ended())))
    }

    /// Sends nothing more: the connection has ended.
    pub(super) fn close(&self) {
        let waiting = {
            let mut queue = self.queue();
            queue.is_closed = true;
            std::mem::take(&mut queue.waiting)
        };
        for one in waiting {
            let _ = one.answer.send(Err(Unsent::Closed)); // it may have gone away meanwhile
        }
    }

    /// Lets go of the connection: no answer is waited for any more.
    pub(super) fn abandon(&self) {
        self.batch_permits.close();
        self.abandoned.close();
        self.close();
    }

    /// Returns whether it is the only one, so that there is nobody yet who sends it.
    fn enqueue(&self, one: QueuedCommand) -> Result<bool, Unsent> {
        let mut queue = self.queue();
        if queue.is_closed {
            return Err(Unsent::Closed);
        }
        let waiting = &mut queue.waiting;
        if waiting.len() >= MAX_QUEUED {
            // Who came first leaves first.
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
        // Where the connection lives, as other callers' commands outlive this one's runtime.
        let runtime = sender.runtime.clone();
        runtime.spawn(async move {
            yield_now().await;
            pipeliner.send_batch(sender).await;
        });
    }

    async fn send_batch(self: &Arc<Self>, sender: RequestSender) {
        let Ok(_permit) = self.batch_permits.acquire().await else {
            return; // what waited is told so
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
        // One may have gone away meanwhile.
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

    /// Takes those that came first and whose callers are still there. Others follow, if there are more.
    fn batch(self: &Arc<Self>, sender: &RequestSender) -> (Pipeline, Vec<Answer>) {
        let waiting = &mut self.queue().waiting;
        let room = waiting.len().min(MAX_BATCH_SIZE);
        let (mut commands, mut answers) = (Pipeline::with_capacity(room), Vec::with_capacity(room));
        while answers.len() < MAX_BATCH_SIZE
            && let Some(one) = waiting.pop_front()
        {
            // Whoever has gone away is not charged.
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
