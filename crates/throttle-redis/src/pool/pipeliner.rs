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
pub(super) struct Pipeliner {
    in_flight: AtomicUsize,
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

/// The error of a command that was not sent, because too many wait.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) struct Full;

/// Counts a request as in flight until it is dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl Default for Pipeliner {
    fn default() -> Self {
        Self {
            in_flight: AtomicUsize::default(),
            waiting: Mutex::default(),
            unanswered: Semaphore::new(MOST_BATCHES),
            over: Semaphore::new(0),
        }
    }
}

impl Pipeliner {
    /// Sends a command, at once where it is the only one.
    pub(super) async fn send(
        self: &Arc<Self>,
        connection: &MultiplexedConnection,
        command: &Cmd,
    ) -> Result<Result<Value, RedisError>, Full> {
        let others = self.in_flight.fetch_add(1, Relaxed);
        let _in_flight = InFlight(&self.in_flight);
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

    /// Lets go of the connection: no answer is waited for any more.
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
        let pipeliner = Arc::clone(self);
        tokio::spawn(async move {
            yield_now().await;
            pipeliner.send_batch(connection).await;
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
