//! The connections to one server: few, shared by all requests, and kept up in the background.
//!
//! A request is sent on a connection without waiting for the answers to others, so that a handful
//! carries any load. Each connection has a task of its own ([`lane`]) that makes it, checks it, and
//! makes another when it breaks; a request only ever picks one that is there. One that may be broken
//! (an answer was late) is not picked until it has answered a PING.

mod batches;
mod lane;
mod source;

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

pub(crate) use self::source::{Ask, Source, address_of, connection_addr};
use self::{
    batches::{Full, MOST_WAITING},
    lane::{Lane, Live},
};
use crate::{
    error::{Failure, checked},
    figures::Counters,
    options::Options,
};

/// More connections than this carry no more.
const MOST_LANES: usize = 4;

/// Holds the connections to one server; they end with it.
pub(crate) struct Pool {
    shared: Arc<Shared>,
    source: Arc<Source>,
    tasks: Vec<JoinHandle<()>>,
}

/// What the tasks of the connections share with those who ask.
struct Shared {
    server: String,
    lanes: Box<[Lane]>,
    turn: AtomicUsize,
    /// Woken when a connection was made, or could not be.
    changed: Notify,
    failures: AtomicU64,
    state: Mutex<State>,
    counters: Arc<Counters>,
    options: Arc<Options>,
    /// Told when a connection is gone or does not answer.
    trouble: Option<Arc<Notify>>,
}

#[derive(Default)]
struct State {
    last: Option<RedisError>,
    down_since: Option<Instant>,
    /// Where the connections led last.
    address: Option<String>,
}

impl Pool {
    /// Begins to connect; `server` is what errors call it, and `trouble` is told when a connection is gone or
    /// does not answer.
    pub(crate) fn start(
        server: String,
        source: Source,
        options: &Arc<Options>,
        counters: &Arc<Counters>,
        trouble: Option<Arc<Notify>>,
    ) -> Self {
        let lanes = Self::size(options);
        let shared = Arc::new(Shared {
            server,
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            turn: AtomicUsize::new(0),
            changed: Notify::new(),
            failures: AtomicU64::new(0),
            state: Mutex::new(State { down_since: Some(Instant::now()), ..State::default() }),
            counters: Arc::clone(counters),
            options: Arc::clone(options),
            trouble,
        });
        let source = Arc::new(source);
        let keep = |index| {
            let (shared, source) = (Arc::clone(&shared), Arc::clone(&source));
            tokio::spawn(async move { lane::keep(&shared, index, &source).await })
        };
        let tasks = (0..lanes).map(keep).collect();
        Self { shared, source, tasks }
    }

    /// Returns how many connections a server gets.
    pub(crate) fn size(options: &Options) -> usize {
        options.max_connections.min(MOST_LANES)
    }

    /// Sends a command, and returns what came back before the deadline.
    pub(crate) async fn send(&self, cmd: &Cmd, deadline: Instant) -> Result<Value, Failure> {
        let live = self.live(deadline).await?;
        let waiting = live.waiting();
        let answer = timeout_at(deadline, live.send(cmd)).await;
        waiting.end();
        let answer = match answer {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(Full)) => return Err(self.full()),
            Err(late) => Err(late),
        };
        self.sorted(&live, answer)
    }

    /// Sends commands one right after the other, and returns the answers to the last `count`.
    pub(crate) async fn send_all(
        &self,
        commands: &Pipeline,
        skip: usize,
        count: usize,
        deadline: Instant,
    ) -> Result<Vec<Value>, Failure> {
        let live = self.live(deadline).await?;
        let mut connection = live.connection();
        let waiting = live.waiting();
        let answer =
            timeout_at(deadline, connection.send_packed_commands(commands, skip, count)).await;
        waiting.end();
        let answers = |values: Vec<Value>| values.into_iter().map(checked).collect();
        self.sorted(&live, answer.map(|answer| answer.and_then(answers)))
    }

    /// Waits until there is a connection; fails at the first that could not be made.
    pub(crate) async fn wait(&self, deadline: Instant) -> Result<(), Failure> {
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if self.is_connected() {
                return Ok(());
            }
            if self.shared.failures.load(Relaxed) > 0
                || timeout_at(deadline, changed).await.is_err()
            {
                return Err(self.shared.not_connected());
            }
        }
    }

    /// Replaces the connections that were there before `moment`: they lead to a server that is no
    /// master any more.
    pub(crate) fn renew(&self, moment: Instant) {
        for lane in &self.shared.lanes {
            lane.drop_older(moment);
        }
    }

    /// Follows a sentinel that says that one address took the place of another as the master. The other one
    /// is not connected to for a while, though a sentinel that did not hear of it yet, and the server itself,
    /// may say that it is master still.
    pub(crate) fn switch(&self, old: &str, new: &str) {
        // Whatever was said of it before, maybe late and by another sentinel.
        self.source.reinstate(new);
        // The other sentinels say the same.
        if self.address().as_deref() != Some(new) {
            self.source.depose(old);
            self.renew(Instant::now());
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.shared.lanes.iter().any(|lane| lane.usable().is_some())
    }

    /// Returns how many connections are up.
    pub(crate) fn connections(&self) -> usize {
        self.shared.lanes.iter().filter(|lane| lane.usable().is_some()).count()
    }

    pub(crate) fn server(&self) -> &str {
        &self.shared.server
    }

    /// Returns the address that the connections led to last.
    pub(crate) fn address(&self) -> Option<String> {
        self.shared.state().address.clone()
    }

    /// Returns why the last connection could not be made, if none was since.
    pub(crate) fn last_error(&self) -> Option<RedisError> {
        self.shared.state().last.clone()
    }

    async fn live(&self, deadline: Instant) -> Result<Arc<Live>, Failure> {
        if let Some(live) = self.shared.pick() {
            return Ok(live);
        }
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable(); // before looking, so that no change is missed
            if let Some(live) = self.shared.pick() {
                return Ok(live);
            }
            // A server that has been away for so long will hardly be back for this very request.
            let down = self.shared.state().down_since;
            let long = down.is_some_and(|since| since.elapsed() > self.shared.patience());
            if long || timeout_at(deadline, changed).await.is_err() {
                return Err(self.shared.not_connected());
            }
        }
    }

    fn full(&self) -> Failure {
        Counters::add(&self.shared.counters.overloads);
        Failure::Overload { server: self.shared.server.clone(), waiting: MOST_WAITING }
    }

    fn sorted<T>(
        &self,
        live: &Live,
        answer: Result<Result<T, RedisError>, tokio::time::error::Elapsed>,
    ) -> Result<T, Failure> {
        let timeout = self.shared.options.response_timeout;
        let server = &self.shared.server;
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let failure = Failure::of_sent(server, error, timeout);
                if matches!(failure, Failure::Lost { .. }) {
                    live.mark_broken();
                }
                Err(failure)
            }
            Err(_) => {
                live.suspect();
                Counters::add(&self.shared.counters.late);
                Err(Failure::Late { server: server.clone(), timeout })
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn pick(&self) -> Option<Arc<Live>> {
        let first = self.turn.fetch_add(1, Relaxed);
        (0..self.lanes.len())
            .find_map(|i| self.lanes[first.wrapping_add(i) % self.lanes.len()].usable())
    }

    fn patience(&self) -> Duration {
        self.options.response_timeout
    }

    fn not_connected(&self) -> Failure {
        let last = self.state().last.clone();
        Failure::NotConnected { server: self.server.clone(), last }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a connection was made.
    fn connected(&self, address: &str) {
        {
            let mut state = self.state();
            state.down_since = None;
            state.last = None;
            if state.address.as_deref() != Some(address)
                && let Some(before) = state.address.replace(address.to_owned())
            {
                Counters::add(&self.counters.failovers);
                tracing::info!(server = self.server, before, now = address, "Redis moved");
            }
        }
        self.failures.store(0, Relaxed);
        self.changed.notify_waiters();
    }

    /// Notes that a connection could not be made.
    fn failed(&self, error: RedisError) {
        self.state().last = Some(error);
        self.failures.fetch_add(1, Relaxed);
        self.changed.notify_waiters();
    }

    /// Notes that a connection is gone.
    fn disconnected(&self) {
        self.troubled();
        if self.lanes.iter().all(|lane| lane.usable().is_none()) {
            self.state().down_since.get_or_insert_with(Instant::now);
        }
    }

    fn troubled(&self) {
        if let Some(trouble) = &self.trouble {
            trouble.notify_one();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("server", &self.shared.server)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}
