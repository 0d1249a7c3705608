//! The task that keeps the connection of one slot up.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, PushInfo, PushKind, RedisError, aio::MultiplexedConnection, cmd,
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    connection::{Connection, ConnectionHealth},
    greeting::explained,
    shared::Shared,
    source::Source,
};
use crate::{figures::Counters, lua, options::Options, retry::Backoff};

const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_millis(500);
/// A connection that answered so short a time ago is not asked whether it does.
const PROOF: Duration = Duration::from_millis(50);
/// How many requests may stand between those who ask and the socket, before asking waits.
const QUEUE: usize = 1_024;

/// Makes the slot's connection, watches it, and makes it anew when it breaks; never ends by itself.
pub(super) async fn keep(shared: &Shared, index: usize, source: &Source) {
    let (slot, options) = (&shared.slots[index], &shared.options);
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    let mut again = false;
    loop {
        let health = Arc::new(ConnectionHealth::default());
        match timeout(options.connect_timeout, open(source, options, &health)).await {
            Ok(Ok((multiplexed, address))) => {
                backoff.reset();
                let connection = Arc::new(Connection::new(multiplexed, health));
                slot.set(Some(Arc::clone(&connection)));
                if again {
                    Counters::add(&shared.counters.reconnects);
                }
                again = true;
                shared.connected(&address);
                watch(&connection, shared).await;
                slot.set(None);
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
async fn watch(connection: &Connection, shared: &Shared) {
    let (options, health) = (&shared.options, connection.health());
    let mut proven = Instant::now();
    loop {
        let rest = options.health_check_interval;
        // The notification of what was marked during a PING is gone.
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
        } else if health.suspect.swap(false, Relaxed) && proven.elapsed() >= PROOF {
            // It is used meanwhile: that somebody goes away says little.
            if !ping(connection, options.response_timeout).await {
                Counters::add(&shared.counters.late);
                health.probe_on_reuse.store(true, Relaxed);
                continue;
            }
        } else {
            continue;
        }
        proven = Instant::now();
    }
}

/// Returns whether a PING is answered: by anything at all, a server that is loading is there.
async fn ping(connection: &Connection, within: Duration) -> bool {
    let mut multiplexed = connection.multiplexed();
    let ping = cmd("PING");
    let answer = multiplexed.send_packed_command(&ping);
    // A connection that breaks meanwhile is marked so.
    let health = connection.health();
    let broken = async {
        while !health.broken.load(Relaxed) {
            health.changed.notified().await;
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
    health: &Arc<ConnectionHealth>,
) -> Result<(MultiplexedConnection, String), RedisError> {
    let client = source.client().await?;
    let mut config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(None) // each request has a deadline of its own
        .set_pipeline_buffer_size(QUEUE);
    if options.resp3 {
        let health = Arc::clone(health);
        config = config.set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                health.mark_broken();
            }
            Ok::<_, std::convert::Infallible>(())
        });
    }
    let made = client.get_multiplexed_async_connection_with_config(&config).await;
    let mut connection = match made {
        Ok(connection) => connection,
        Err(error) => return Err(explained(&client, error).await),
    };
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
