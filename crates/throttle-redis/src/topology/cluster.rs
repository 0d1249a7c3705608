//! The masters of a cluster and their slots ([Redis Cluster specification]).
//!
//! A background task keeps the slot map. It reads the map again after a redirection, when a node cannot be
//! reached, and once a minute. Requests do not wait for it: they follow `MOVED` and `ASK` directly.
//!
//! [Redis Cluster specification]: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use redis::{RedisError, cmd};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    server::Server,
    slots::{self, Range, SLOTS},
};
use crate::{
    background::{Background, Task},
    error::{Error, Failure, is_read_only},
    options::{Address, Options},
    pool::{Pool, Source, address_of},
    stats::Counters,
};

/// The interval of reads of the map, if all slots have a master and all masters are connected.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// The interval while a slot has no master, or a master is not connected.
const REFRESH_INTERVAL_DEGRADED: Duration = Duration::from_millis(250);
/// The shortest interval between two reads of the map.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(20);

pub(super) struct Cluster {
    shared: Arc<Shared>,
    _task: Task,
}

struct Shared {
    seeds: Vec<Address>,
    map: ArcSwap<Map>,
    /// The pools of the masters in the map, of redirection targets and of seeds.
    nodes: Mutex<HashMap<Address, Arc<Pool>>>,
    /// Notified when the map may be outdated and must be read again.
    topology_suspect: Arc<Notify>,
    /// Notified after each read of the map, successful or not.
    read: Notify,
    /// The error of the last read of the map, if no node returned it.
    last_error: Mutex<Option<RedisError>>,
    options: Arc<Options>,
    background: Arc<Background>,
    counters: Arc<Counters>,
}

/// The slot map.
struct Map {
    /// The index of the master of each slot, or [`UNASSIGNED`].
    owners: Box<[u16]>,
    masters: Vec<Arc<Pool>>,
    /// The map was read from the cluster at least once.
    known: bool,
}

const UNASSIGNED: u16 = u16::MAX;

impl Cluster {
    pub(super) fn start(
        seeds: &[Address],
        options: &Arc<Options>,
        background: &Arc<Background>,
        counters: &Arc<Counters>,
    ) -> Result<Self, Error> {
        for seed in seeds {
            Source::fixed(seed, options)?; // reports an invalid address now, not in the background
        }
        let shared = Arc::new(Shared {
            seeds: seeds.to_vec(),
            map: ArcSwap::from_pointee(Map::empty()),
            nodes: Mutex::default(),
            topology_suspect: Arc::default(),
            read: Notify::new(),
            last_error: Mutex::default(),
            options: Arc::clone(options),
            background: Arc::clone(background),
            counters: Arc::clone(counters),
        });
        let keep = {
            let shared = Arc::clone(&shared);
            move || {
                let shared = Arc::clone(&shared);
                async move { shared.keep().await }
            }
        };
        Ok(Self { shared, _task: background.spawn(keep) })
    }

    /// Waits until the map is known and every master is connected.
    pub(super) async fn wait(&self, deadline: Instant) -> Result<(), Failure> {
        self.shared.wait_for_map(deadline).await?;
        let map = self.shared.map.load_full();
        for pool in &map.masters {
            pool.wait(deadline).await?;
        }
        Ok(())
    }

    pub(super) async fn server_of(&self, slot: u16, deadline: Instant) -> Result<Server, Failure> {
        let map = self.shared.map.load();
        if let Some(pool) = map.owner(slot) {
            return Ok(Server::of(pool));
        }
        drop(map);
        self.shared.wait_for_map(deadline).await?;
        let map = self.shared.map.load();
        // For a slot without a known master, any node will do: it redirects, or reports that the slot is down.
        let pool = map.owner(slot).or_else(|| map.masters.first());
        pool.map(Server::of).ok_or_else(|| self.shared.unreachable())
    }

    pub(super) async fn masters(&self) -> Result<Vec<Server>, Failure> {
        let deadline = Instant::now() + self.shared.options.response_timeout;
        self.shared.wait_for_map(deadline).await?;
        Ok(self.shared.map.load().masters.iter().map(Server::of).collect())
    }

    /// Returns the node that another node redirected to. If the redirection has no host, the node is on the same
    /// host: `cluster-preferred-endpoint-type` is `unknown-endpoint`, or the node has no hostname.
    pub(super) fn redirect_target(
        &self,
        address: &str,
        asked: &Server,
        asking: bool,
    ) -> Option<Server> {
        let mut address = address_of(address)?;
        if slots::is_unknown(&address.host) {
            address.host = address_of(&asked.name())?.host;
        }
        let pool = self.shared.pool(&address).ok()?;
        Some(Server::Pool { pool, asking })
    }

    /// Triggers a read of the map if a failure suggests that it is outdated.
    pub(super) fn observe_failure(&self, failure: &Failure) {
        let is_suspect = match failure {
            Failure::NotConnected { .. } | Failure::Lost { .. } | Failure::Late { .. } => true,
            Failure::Overload { .. } | Failure::NoRuntime => false,
            Failure::ErrorReply { source, .. } => {
                matches!(source.code(), Some("MOVED" | "READONLY" | "CLUSTERDOWN" | "MASTERDOWN"))
                    || is_read_only(source)
            }
        };
        if is_suspect {
            self.shared.topology_suspect.notify_one();
        }
    }

    /// Returns the number of connections that are up, and the number of masters.
    pub(super) fn connections(&self) -> (usize, usize) {
        let map = self.shared.map.load();
        (map.masters.iter().map(|pool| pool.connections()).sum(), map.masters.len())
    }
}

impl Shared {
    /// Keeps the map up to date, and never returns.
    async fn keep(&self) {
        loop {
            let is_healthy = self.refresh().await;
            self.read.notify_waiters();
            sleep(MIN_REFRESH_INTERVAL).await;
            let rest = if is_healthy { REFRESH_INTERVAL } else { REFRESH_INTERVAL_DEGRADED };
            let _ = timeout(rest, self.topology_suspect.notified()).await;
        }
    }

    /// Reads the map from the first node that returns it. Returns whether the cluster is healthy: every slot has a
    /// master, and all masters are connected.
    async fn refresh(&self) -> bool {
        for (address, pool) in self.nodes_to_ask() {
            let deadline =
                Instant::now() + self.options.connect_timeout.min(Duration::from_secs(1));
            if !self.is_ready(&pool, deadline).await {
                continue;
            }
            let command = cmd("CLUSTER").arg("SLOTS").to_owned();
            let answer = pool.send(&command, deadline).await;
            match answer.as_ref().map(|answer| slots::read(answer, &address.host)) {
                Ok(Some(ranges)) if !ranges.is_empty() => {
                    self.set_last_error(None);
                    return self.apply(&ranges);
                }
                Ok(_) => {
                    tracing::debug!(
                        target: "ratethrottle::redis",
                        %address, "the node has no slot map"
                    );
                    self.set_last_error(Some(io::Error::other("no node has a slot map").into()));
                }
                Err(error) => {
                    tracing::debug!(
                        target: "ratethrottle::redis",
                        %address, %error, "the slot map cannot be read from the node"
                    );
                    self.set_last_error(error.error_reply().cloned());
                }
            }
        }
        false
    }

    fn set_last_error(&self, why: Option<RedisError>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    async fn is_ready(&self, pool: &Pool, deadline: Instant) -> bool {
        pool.is_connected() || pool.wait(deadline).await.is_ok()
    }

    /// Returns the nodes to read the map from: first those that are connected, then the others, then the seeds.
    fn nodes_to_ask(&self) -> Vec<(Address, Arc<Pool>)> {
        let mut nodes: Vec<_> = self
            .nodes()
            .iter()
            .map(|(address, pool)| (address.clone(), Arc::clone(pool)))
            .collect();
        fastrand::shuffle(&mut nodes);
        nodes.sort_by_key(|(_, pool)| !pool.is_connected());
        for seed in &self.seeds {
            if !nodes.iter().any(|(address, _)| address == seed)
                && let Ok(pool) = self.pool(seed)
            {
                nodes.push((seed.clone(), pool));
            }
        }
        nodes
    }

    /// Replaces the map, and drops the pools of nodes without slots. Returns whether the cluster is healthy.
    fn apply(&self, ranges: &[Range]) -> bool {
        let mut owners = vec![UNASSIGNED; usize::from(SLOTS)].into_boxed_slice();
        let mut masters: Vec<(Address, Arc<Pool>)> = Vec::new();
        for range in ranges {
            let known = masters.iter().position(|(address, _)| *address == range.master);
            let index = match known {
                Some(index) => index,
                None => match self.pool(&range.master) {
                    Ok(pool) => {
                        masters.push((range.master.clone(), pool));
                        masters.len() - 1
                    }
                    Err(error) => {
                        tracing::warn!(
                            target: "ratethrottle::redis",
                            %error, "a node of the cluster cannot be used"
                        );
                        continue;
                    }
                },
            };
            let owner = u16::try_from(index).unwrap_or(UNASSIGNED);
            owners[usize::from(range.first)..=usize::from(range.last)].fill(owner);
        }
        let complete = !owners.contains(&UNASSIGNED);
        let reached = masters.iter().all(|(_, pool)| pool.is_connected());
        let used = |address: &Address| masters.iter().any(|(master, _)| master == address);
        self.nodes().retain(|address, _| used(address));
        let masters = masters.into_iter().map(|(_, pool)| pool).collect();
        self.map.store(Arc::new(Map { owners, masters, known: true }));
        complete && reached
    }

    /// Returns the pool of a node, which is created if it does not exist.
    fn pool(&self, address: &Address) -> Result<Arc<Pool>, Error> {
        let mut nodes = self.nodes();
        if let Some(pool) = nodes.get(address) {
            return Ok(Arc::clone(pool));
        }
        let suspect = Some(Arc::clone(&self.topology_suspect));
        let (background, counters) = (&self.background, &self.counters);
        let pool = Pool::of_address(address, &self.options, background, counters, suspect)?;
        let pool = Arc::new(pool);
        nodes.insert(address.clone(), Arc::clone(&pool));
        Ok(pool)
    }

    async fn wait_for_map(&self, deadline: Instant) -> Result<(), Failure> {
        let mut asked = 0;
        loop {
            let read = self.read.notified();
            let mut read = std::pin::pin!(read);
            read.as_mut().enable();
            if self.map.load().known {
                return Ok(());
            }
            if asked > 0 || timeout_at(deadline, read).await.is_err() {
                return Err(self.unreachable());
            }
            asked += 1;
        }
    }

    fn unreachable(&self) -> Failure {
        let names: Vec<_> = self.seeds.iter().map(ToString::to_string).collect();
        let last_error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = self.nodes().values().find_map(|pool| pool.last_error()).or(last_error);
        Failure::NotConnected { server: format!("cluster {}", names.join(",")), last }
    }

    fn nodes(&self) -> std::sync::MutexGuard<'_, HashMap<Address, Arc<Pool>>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map {
    fn empty() -> Self {
        Self { owners: Box::new([UNASSIGNED; SLOTS as usize]), masters: Vec::new(), known: false }
    }

    fn owner(&self, slot: u16) -> Option<&Arc<Pool>> {
        self.masters.get(usize::from(*self.owners.get(usize::from(slot))?))
    }
}
