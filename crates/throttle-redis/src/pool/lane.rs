//! One connection of a pool, and the task that keeps it up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use redis::{
    AsyncConnectionConfig, Cmd, PushInfo, PushKind, RedisError, Value, aio::MultiplexedConnection,
    cmd,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{
    Shared, Source,
    batches::{Batches, Full},
};
use crate::{figures::Counters, lua, options::Options, retry::Backoff};

const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_millis(500);
/// A caller who waited for so long and went away has given the connection up.
const PATIENT: Duration = Duration::from_millis(10);
/// A connection that answered so short a time ago is not asked whether it does.
const PROOF: Duration = Duration::from_millis(50);
/// How many requests may stand between those who ask and the socket, before asking waits.
const QUEUE: usize = 1_024;

/// A place for one connection.
#[derive(Default)]
pub(super) struct Lane {
    live: ArcSwapOption<Live>,
}

/// A connection that was made.
pub(super) struct Live {
    connection: MultiplexedConnection,
    batches: Arc<Batches>,
    since: Instant,
    signs: Arc<Signs>,
}

/// What is known about a connection's health.
#[derive(Default)]
struct Signs {
    broken: AtomicBool,
    /// It was late, and nobody uses it before it has answered.
    suspect: AtomicBool,
    /// Somebody did not wait for its answer.
    doubted: AtomicBool,
    changed: Notify,
}

impl Lane {
    /// Returns the connection if nothing speaks against it.
    pub(super) fn usable(&self) -> Option<Arc<Live>> {
        let live = self.live.load();
        let live = live.as_ref()?;
        live.signs.is_good().then(|| Arc::clone(live))
    }

    /// Gives the connection up if it was made before `moment`.
    pub(super) fn drop_older(&self, moment: Instant) {
        if let Some(live) = &*self.live.load()
            && live.since <= moment
        {
            live.mark_broken();
        }
    }
}

/// Waits for an answer on a connection. Who gives the wait up, for a deadline of their own, does not see that
/// the answer is late: that the connection may hang is noted for them.
pub(super) struct Waiting<'a> {
    signs: &'a Signs,
    since: Instant,
    ended: bool,
}

impl Waiting<'_> {
    /// Ends the wait, however it came out.
    pub(super) fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.ended && self.since.elapsed() >= PATIENT {
            self.signs.doubt();
        }
    }
}

impl Live {
    /// Begins to wait for an answer.
    pub(super) fn waiting(&self) -> Waiting<'_> {
        Waiting { signs: &self.signs, since: Instant::now(), ended: false }
    }

    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    /// Sends a command, together with others that come at the same time.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Result<Value, RedisError>, Full> {
        self.batches.send(&self.connection, command).await
    }

    pub(super) fn mark_broken(&self) {
        self.signs.break_up();
    }

    /// Has the connection checked before anybody else uses it.
    pub(super) fn suspect(&self) {
        self.signs.suspect.store(true, Relaxed);
        self.signs.changed.notify_one();
    }
}

impl Drop for Live {
    /// Nobody waits for an answer any more, and one that hangs would be kept open by what was sent on it.
    fn drop(&mut self) {
        self.batches.give_up();
    }
}

impl Signs {
    fn is_good(&self) -> bool {
        !self.broken.load(Relaxed) && !self.suspect.load(Relaxed)
    }

    fn doubt(&self) {
        if !self.doubted.swap(true, Relaxed) {
            self.changed.notify_one();
        }
    }

    fn break_up(&self) {
        self.broken.store(true, Relaxed);
        self.changed.notify_one();
    }
}

/// Makes the lane's connection, watches it, and makes it anew when it breaks; never ends by itself.
pub(super) async fn keep(shared: &Shared, index: usize, source: &Source) {
    let options = &shared.options;
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    let mut again = false;
    loop {
        let signs = Arc::new(Signs::default());
        match timeout(options.connect_timeout, open(source, options, &signs)).await {
            Ok(Ok((connection, address))) => {
                backoff.reset();
                let (batches, since) = (Arc::default(), Instant::now());
                let live = Arc::new(Live { connection, batches, since, signs });
                shared.lanes[index].live.store(Some(Arc::clone(&live)));
                if again {
                    Counters::add(&shared.counters.reconnects);
                }
                again = true;
                shared.connected(&address);
                watch(&live, shared).await;
                shared.lanes[index].live.store(None);
                shared.disconnected();
                tracing::debug!(server = shared.server, "a connection to Redis broke");
            }
            Ok(Err(error)) => {
                shared.failed(error);
                sleep(backoff.next()).await;
            }
            Err(_) => {
                shared.failed(late(options.connect_timeout));
                sleep(backoff.next()).await;
            }
        }
    }
}

/// Returns when the connection cannot be used any more: it is closed, or answers no more.
async fn watch(live: &Live, shared: &Shared) {
    let (options, signs) = (&shared.options, &live.signs);
    let mut proven = Instant::now();
    loop {
        let rest = options.health_check_interval;
        // What became suspect during a PING is not told again.
        let is_due =
            !signs.suspect.load(Relaxed) && timeout(rest, signs.changed.notified()).await.is_err();
        if signs.broken.load(Relaxed) {
            return;
        }
        let is_suspect = signs.suspect.load(Relaxed);
        if is_suspect {
            shared.troubled();
        }
        if is_due || is_suspect {
            if !ping(live, options.connect_timeout).await {
                return;
            }
            signs.suspect.store(false, Relaxed);
            shared.changed.notify_waiters();
        } else if signs.doubted.swap(false, Relaxed) && proven.elapsed() >= PROOF {
            // It is used meanwhile: that somebody goes away says little.
            if !ping(live, options.response_timeout).await {
                Counters::add(&shared.counters.late);
                signs.suspect.store(true, Relaxed);
                continue;
            }
        } else {
            continue;
        }
        proven = Instant::now();
    }
}

/// Returns whether a PING is answered: by anything at all, a server that is loading is there.
async fn ping(live: &Live, within: Duration) -> bool {
    let mut connection = live.connection();
    let ping = cmd("PING");
    let answer = connection.send_packed_command(&ping);
    // A connection that breaks meanwhile says so by its signs.
    let broken = async {
        while !live.signs.broken.load(Relaxed) {
            live.signs.changed.notified().await;
        }
    };
    tokio::select! {
        answer = timeout(within, answer) => matches!(answer, Ok(Ok(_))),
        () = broken => false,
    }
}

async fn open(
    source: &Source,
    options: &Options,
    signs: &Arc<Signs>,
) -> Result<(MultiplexedConnection, String), RedisError> {
    let client = source.client().await?;
    let mut config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(None) // each request has a deadline of its own
        .set_pipeline_buffer_size(QUEUE);
    if options.resp3 {
        let signs = Arc::clone(signs);
        config = config.set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                signs.break_up();
            }
            Ok::<_, std::convert::Infallible>(())
        });
    }
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    if let Some(name) = &options.client_name {
        cmd("CLIENT").arg("SETNAME").arg(name).exec_async(&mut connection).await?;
    }
    // So that the first request finds them. A user who may not load them learns so when one is needed.
    let scripts = lua::load_all();
    let _ = connection.send_packed_commands(&scripts, 0, scripts.len()).await;
    Ok((connection, client.get_connection_info().addr().to_string()))
}

fn late(timeout: Duration) -> RedisError {
    let text = format!("it was not made within {timeout:?}");
    std::io::Error::new(std::io::ErrorKind::TimedOut, text).into()
}
