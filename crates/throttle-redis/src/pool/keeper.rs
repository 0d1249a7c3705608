//! The task that keeps the connection of one connection slot up.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use redis::{RedisError, cmd};
use tokio::time::{Instant, sleep, timeout};

use super::{
    connection::{Connection, ConnectionHealth, closed_early},
    greeting::explain,
    pipeliner::Pipeliner,
    shared::Shared,
    source::Source,
};
use crate::{lua, options::Options, retry::Backoff, stats::Counters, transport};

const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_millis(500);
/// The age at which a connection counts as stable. The next backoff then starts from the first wait.
const STABLE_AFTER: Duration = Duration::from_secs(1);
/// A suspect connection that answered a PING within this time is not checked again.
const RECENT_ANSWER: Duration = Duration::from_millis(50);

/// Connects, watches the connection, and connects again when it breaks. Never returns.
pub(super) async fn keep(shared: &Shared, index: usize, source: &Source) {
    let (slot, options) = (&shared.slots[index], &shared.options);
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    let mut is_reconnect = false;
    loop {
        match timeout(options.connect_timeout, open(source, options)).await {
            Ok(Ok((connection, address))) => {
                slot.set(Some(Arc::clone(&connection)));
                if is_reconnect {
                    Counters::add(&shared.counters.reconnects);
                }
                is_reconnect = true;
                shared.connected(&address);
                watch(&connection, shared).await;
                slot.set(None);
                shared.disconnected();
                tracing::debug!(
                    target: "ratethrottle::redis",
                    server = shared.server, "a connection to Redis broke"
                );
                // A connection that this side ended is no sign of a server that closes connections at once.
                if connection.age() >= STABLE_AFTER || connection.is_abandoned() {
                    backoff.reset();
                } else if !connection.has_answered() {
                    shared.failed(closed_early());
                }
            }
            Ok(Err(error)) => shared.failed(error),
            Err(_) => shared.failed(connect_timeout_error(options.connect_timeout)),
        }
        sleep(backoff.next()).await;
    }
}

/// Watches a connection until it is closed or stops answering.
async fn watch(connection: &Connection, shared: &Shared) {
    let (options, health) = (&shared.options, connection.health());
    let mut last_answer = Instant::now();
    loop {
        let rest = options.health_check_interval;
        // The last PING may have consumed the notification of this flag, so the flag is read first.
        let is_due = !health.probe_on_reuse.load(Relaxed)
            && timeout(rest, health.changed.notified()).await.is_err();
        if health.broken.load(Relaxed) {
            return;
        }
        let is_late = health.probe_on_reuse.load(Relaxed);
        if is_late {
            shared.suspect_topology();
        }
        if is_due || is_late {
            if !ping(connection, options.connect_timeout).await {
                return;
            }
            health.probe_on_reuse.store(false, Relaxed);
            shared.changed.notify_waiters();
        } else if health.suspect.swap(false, Relaxed) && last_answer.elapsed() >= RECENT_ANSWER {
            // The connection stays in use: a caller that stops waiting is weak evidence of a fault.
            if !ping(connection, options.response_timeout).await {
                Counters::add(&shared.counters.late);
                health.probe_on_reuse.store(true, Relaxed);
                continue;
            }
        } else {
            continue;
        }
        last_answer = Instant::now();
    }
}

/// Returns whether a PING is answered in time.
async fn ping(connection: &Connection, within: Duration) -> bool {
    // If the connection breaks meanwhile, the PING does not have to time out.
    let health = connection.health();
    let broken = async {
        while !health.broken.load(Relaxed) {
            health.changed.notified().await;
        }
    };
    tokio::select! {
        answer = timeout(within, connection.answers_ping()) => matches!(answer, Ok(true)),
        () = broken => false,
    }
}

async fn open(source: &Source, options: &Options) -> Result<(Arc<Connection>, String), RedisError> {
    let info = source.info().await?;
    let (health, pipeliner) = (Arc::<ConnectionHealth>::default(), Arc::<Pipeliner>::default());
    let on_end = {
        let (health, pipeliner) = (Arc::clone(&health), Arc::clone(&pipeliner));
        move || {
            health.mark_broken();
            pipeliner.close();
        }
    };
    let connected = match transport::open(&info, options.encryption.as_ref(), on_end).await {
        Ok(connected) => connected,
        Err(error) => return Err(explain(info.addr(), error).await),
    };
    let mut multiplexed = connected.sender.multiplexed.clone();
    if let Some(name) = &options.client_name {
        cmd("CLIENT").arg("SETNAME").arg(name).exec_async(&mut multiplexed).await?;
    }
    // Loaded in advance, so that the first request finds them. Errors are ignored here: a user without the
    // permission gets the error from the first request that needs a script.
    let scripts = lua::load_all();
    let _ = multiplexed.send_packed_commands(&scripts, 0, scripts.len()).await;
    let connection = Connection::new(connected, pipeliner, health);
    Ok((Arc::new(connection), info.addr().to_string()))
}

fn connect_timeout_error(timeout: Duration) -> RedisError {
    let text = format!("the connection was not established within {timeout:?}");
    std::io::Error::new(std::io::ErrorKind::TimedOut, text).into()
}
