//! Places of requests under way, as leases that end by themselves where a server dies.
//!
//! A place is a member of a sorted set by the time at which it is free again. What this process holds is
//! renewed by one task for all of it; what a dead process held is not, and so is free after the lease.

mod held;
mod renewal;

use std::sync::Arc;

use redis::{FromRedisValue, cmd};
use throttle_core::{
    Effect, HeldPlace, PlaceStorage, PlacesOf, Reply, StorageError, Taken,
    complete_on_drop::CompleteOnDrop,
};
use tokio::runtime::Handle;

pub(crate) use self::held::Held;
use crate::{
    lua::{CONCURRENCY, ScriptCall},
    storage::Inner,
};

/// The places of one prefix.
pub(crate) struct Places {
    inner: Arc<Inner>,
}

impl Places {
    pub(crate) fn new(inner: &Arc<Inner>) -> Self {
        Self { inner: Arc::clone(inner) }
    }
}

impl PlaceStorage for Places {
    fn take(&self, of: &PlacesOf<'_>, limit: u64) -> Reply<Taken> {
        let inner = Arc::clone(&self.inner);
        let key: Arc<str> = inner.keys.of_places(of).into();
        Reply::pending(async move {
            // A call that is dropped meanwhile is completed, so that its permit is released: on the
            // runtime on which it began, since it may be dropped outside of any.
            let runtime = Handle::try_current();
            let complete = move |take| drop(runtime.map(|runtime| runtime.spawn(take)));
            CompleteOnDrop::new(take(inner, key, limit), complete).await
        })
    }

    fn in_use(&self, of: &PlacesOf<'_>) -> Reply<u64> {
        let inner = Arc::clone(&self.inner);
        let key = inner.keys.of_places(of);
        Reply::pending(async move {
            let (_, in_use): (u64, u64) = run(&inner, &call(&key, "count")).await?;
            Ok(in_use)
        })
    }
}

async fn take(inner: Arc<Inner>, key: Arc<str>, limit: u64) -> Result<Taken, StorageError> {
    let id = inner.held.next_id();
    let mut take = call(&key, "take");
    take.arg(inner.held.lease_millis()).arg(limit).arg(&*id);
    match run(&inner, &take).await {
        Ok((1, in_use)) => {
            renewal::begin(&inner);
            inner.held.add(&key, &id);
            Ok(Taken::place(HeldPlace::new(Guard { inner, key, id }), in_use))
        }
        Ok((_, in_use)) => Ok(Taken::full(in_use)),
        Err(error) => {
            if error.effect() == Effect::Unknown {
                drop(Guard { inner, key, id }); // it may have been taken
            }
            Err(error)
        }
    }
}

/// Gives a place back when it is dropped; if that fails, it is free when its lease is over.
struct Guard {
    inner: Arc<Inner>,
    key: Arc<str>,
    id: Arc<str>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.inner.held.remove(&self.id);
        let (inner, key, id) =
            (Arc::clone(&self.inner), Arc::clone(&self.key), Arc::clone(&self.id));
        self.inner.held.spawn(async move { give_back(&inner, &key, &id).await });
    }
}

async fn give_back(inner: &Inner, key: &str, id: &str) {
    let mut remove = cmd("ZREM");
    remove.arg(key).arg(id);
    if let Err(error) = inner.topology.call(key.as_bytes(), &remove).await {
        tracing::debug!(%error, "a place was not given back; it is free when its lease is over");
    }
}

fn call(key: &str, op: &str) -> ScriptCall {
    let mut call = CONCURRENCY.call(&[key]);
    call.arg(op);
    call
}

async fn run<T: FromRedisValue>(inner: &Inner, call: &ScriptCall) -> Result<T, StorageError> {
    let answer = inner.topology.run(call).await?;
    // What was done is known to Redis alone.
    redis::from_redis_value(answer).map_err(|error| StorageError::other(error.to_string()))
}
