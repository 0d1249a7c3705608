//! The storage: one table, and one transaction per call.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ratethrottle::{
    Storage, StorageError, Value, async_trait,
    concurrency::ConcurrencyStorage,
    engine::{Clock, Micros, Outcome, State, SystemClock, acquire, peek, refund},
    storage::{
        AtomicStorage, Charge, ChargeRequest, ListStorage, OwnedCharge, Refund, Reply, Scope,
    },
};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

/// The schema. In WAL mode a commit does not wait for the disk: commits survive a crash of the process, but a power
/// failure may lose the last ones.
const SETUP: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS entries (
        key TEXT PRIMARY KEY,
        value BLOB NOT NULL,
        expires INTEGER -- in microseconds since the Unix epoch; NULL never expires
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS by_expiry ON entries (expires) WHERE expires IS NOT NULL;
";

/// A storage in a SQLite file, which several processes can share.
#[derive(Clone, Debug)]
pub(crate) struct SqliteStorage {
    connection: Arc<Mutex<Connection>>,
}

impl SqliteStorage {
    /// Opens a file, and creates it if it does not exist.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be opened or is not a database.
    pub(crate) fn open(file: &Path) -> rusqlite::Result<Self> {
        let connection = Connection::open(file)?;
        // The time that a call waits for transactions of other processes.
        connection.busy_timeout(Duration::from_secs(5))?;
        connection.execute_batch(SETUP)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` in one transaction, on a thread that may block.
    ///
    /// The transaction runs to its end even if the caller drops the reply.
    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Entries<'_>) -> Result<T, StorageError> + Send + 'static,
    ) -> Reply<T> {
        let connection = Arc::clone(&self.connection);
        Reply::pending(async move {
            let call = move || {
                let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                // An immediate transaction prevents other processes from changing the data before the commit.
                let transaction = connection
                    .transaction_with_behavior(TransactionBehavior::Immediate)
                    .map_err(not_carried_out)?;
                let entries = Entries { connection: &transaction, now: SystemClock.now() };
                // An error drops the transaction, which rolls it back.
                let output = work(&entries)?;
                // If the commit fails, it is unknown whether the transaction was executed.
                transaction.commit().map_err(StorageError::other)?;
                Ok(output)
            };
            tokio::task::spawn_blocking(call).await.map_err(StorageError::other)?
        })
    }

    /// Runs `work` on the states of charges, and stores the states that it changes.
    fn decide<'c, T: Send + 'static>(
        &self,
        charges: impl Iterator<Item = Charge<'c>>,
        clock: Option<&Arc<dyn Clock>>,
        work: impl FnOnce(&[Charge<'_>], Micros, &mut Vec<State>) -> T + Send + 'static,
    ) -> Reply<T> {
        let charges: Vec<_> = charges.map(Charge::to_owned).collect();
        let clock = clock.cloned();
        self.call(move |entries| {
            let charges: Vec<_> = charges.iter().map(OwnedCharge::borrow).collect();
            let before: Vec<_> =
                charges.iter().map(|charge| entries.state(charge)).collect::<Result<_, _>>()?;
            let mut states = before.clone();
            // A limiter may have its own clock. It is read after the states are locked, so that the time is
            // not before theirs.
            let now = clock.as_ref().map_or(entries.now, |clock| clock.now());
            let output = work(&charges, now, &mut states);
            let margin = clock.map_or(Micros::ZERO, |_| Micros::from(ChargeRequest::TTL_MARGIN));
            for ((charge, state), before) in charges.iter().zip(&states).zip(&before) {
                if state != before {
                    entries.store(charge, state, now, margin)?;
                }
            }
            Ok(output)
        })
    }
}

impl AtomicStorage for SqliteStorage {
    fn acquire(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        let charges = request.charges().iter().copied();
        self.decide(charges, request.clock(), acquire)
    }

    fn peek(&self, request: &ChargeRequest<'_>) -> Reply<Outcome> {
        let charges = request.charges().iter().copied();
        // A peek advances the states to the current time by its own rules. They must not be stored, because
        // another server may have another rule of the same name.
        self.decide(charges, request.clock(), |charges, now, states| {
            peek(charges, now, &mut states.clone())
        })
    }

    fn refund(&self, refunds: &[Refund<'_>], clock: Option<&Arc<dyn Clock>>) -> Reply<()> {
        let receipts: Vec<_> = refunds.iter().map(Refund::receipt).collect();
        let charges = refunds.iter().map(Refund::charge);
        self.decide(charges, clock, move |charges, now, states| {
            for ((charge, receipt), state) in charges.iter().zip(receipts).zip(states) {
                refund(&Refund::new(*charge, receipt), now, state);
            }
        })
    }

    fn reset(&self, request: &ChargeRequest<'_>) -> Reply<bool> {
        let keys: Vec<_> = request.charges().iter().map(Charge::storage_key).collect();
        self.call(move |entries| {
            keys.iter().try_fold(false, |was_stored, key| Ok(entries.delete(key)? || was_stored))
        })
    }

    fn scope(&self) -> Scope {
        Scope::Shared
    }

    fn lists(&self) -> Option<Arc<dyn ListStorage>> {
        None
    }

    fn concurrency(&self) -> Option<Arc<dyn ConcurrencyStorage>> {
        None
    }

    fn kind(&self) -> &str {
        "sqlite"
    }
}

#[async_trait]
impl Storage for SqliteStorage {
    async fn get(&self, key: &str) -> Result<Option<Value>, StorageError> {
        let key = key.to_owned();
        self.call(move |entries| Ok(entries.get(&key)?.map(|entry| entry.value.into()))).await
    }

    async fn set(
        &self,
        key: &str,
        value: Value,
        ttl: Option<Duration>,
    ) -> Result<(), StorageError> {
        let key = key.to_owned();
        self.call(move |entries| entries.put(&key, value.as_bytes(), entries.end(ttl))).await
    }

    async fn increment(
        &self,
        key: &str,
        amount: i64,
        ttl: Option<Duration>,
    ) -> Result<i64, StorageError> {
        let key = key.to_owned();
        self.call(move |entries| {
            let (old, expires) = match entries.get(&key)? {
                Some(entry) => (Value::from(entry.value).as_i64(), entry.expires),
                None => (Some(0), entries.end(ttl)),
            };
            let old = old.ok_or_else(|| StorageError::not_an_integer(&key))?;
            let sum = old.checked_add(amount).ok_or_else(|| StorageError::overflow(&key))?;
            entries.put(&key, Value::from(sum).as_bytes(), expires)?;
            Ok(sum)
        })
        .await
    }

    async fn delete(&self, key: &str) -> Result<bool, StorageError> {
        let key = key.to_owned();
        self.call(move |entries| entries.delete(&key)).await
    }

    async fn exists(&self, key: &str) -> Result<bool, StorageError> {
        let key = key.to_owned();
        self.call(move |entries| Ok(entries.get(&key)?.is_some())).await
    }

    async fn clear(&self) -> Result<u64, StorageError> {
        self.call(|entries| entries.clear()).await
    }

    // Without this method, the limits would be exact only within one process.
    fn atomic(self: Arc<Self>) -> Arc<dyn AtomicStorage> {
        self
    }
}

/// The entries of the table, in a transaction. Expired entries are treated as absent.
struct Entries<'a> {
    connection: &'a Connection,
    /// The system time, by which entries expire.
    now: Micros,
}

struct Entry {
    value: Vec<u8>,
    expires: Option<i64>,
}

impl Entries<'_> {
    /// Reads the state of a charge.
    fn state(&self, charge: &Charge<'_>) -> Result<State, StorageError> {
        let key = charge.storage_key();
        match self.get(&key)? {
            Some(entry) => {
                State::decode(&entry.value).map_err(|why| StorageError::corrupt(&key, why))
            }
            None => Ok(State::default()),
        }
    }

    /// Stores a state for its lifetime and a margin.
    fn store(
        &self,
        charge: &Charge<'_>,
        state: &State,
        now: Micros,
        margin: Micros,
    ) -> Result<(), StorageError> {
        let (key, lifetime) = (charge.storage_key(), state.lifetime(charge.rule(), now));
        if lifetime == Micros::ZERO {
            return self.delete(&key).map(|_| ());
        }
        self.put(&key, &state.encode(), Some(number(self.now.plus(lifetime).plus(margin))))
    }

    fn get(&self, key: &str) -> Result<Option<Entry>, StorageError> {
        self.connection
            .query_row(
                "SELECT value, expires FROM entries
                 WHERE key = ?1 AND (expires IS NULL OR expires > ?2)",
                params![key, number(self.now)],
                |row| Ok(Entry { value: row.get(0)?, expires: row.get(1)? }),
            )
            .optional()
            .map_err(not_carried_out)
    }

    fn put(&self, key: &str, value: &[u8], expires: Option<i64>) -> Result<(), StorageError> {
        self.remove_some_expired()?;
        self.connection
            .execute(
                "INSERT INTO entries (key, value, expires) VALUES (?1, ?2, ?3)
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires",
                params![key, value, expires],
            )
            .map(|_| ())
            .map_err(not_carried_out)
    }

    fn delete(&self, key: &str) -> Result<bool, StorageError> {
        let was_live = self.get(key)?.is_some();
        self.connection
            .execute("DELETE FROM entries WHERE key = ?1", params![key])
            .map_err(not_carried_out)?;
        Ok(was_live)
    }

    fn clear(&self) -> Result<u64, StorageError> {
        self.connection
            .execute("DELETE FROM entries WHERE expires <= ?1", params![number(self.now)])
            .and_then(|_| self.connection.execute("DELETE FROM entries", params![]))
            .map(|live| live as u64)
            .map_err(not_carried_out)
    }

    /// Removes a few expired entries, so that the table stays small.
    fn remove_some_expired(&self) -> Result<(), StorageError> {
        self.connection
            .execute(
                "DELETE FROM entries WHERE key IN
                 (SELECT key FROM entries WHERE expires <= ?1 LIMIT 4)",
                params![number(self.now)],
            )
            .map(|_| ())
            .map_err(not_carried_out)
    }

    /// Returns the expiry time of an entry with this ttl.
    fn end(&self, ttl: Option<Duration>) -> Option<i64> {
        ttl.map(|ttl| number(self.now.plus(ttl.into())))
    }
}

/// Converts a time to the signed integers of SQLite. A time that does not fit is far in the future.
fn number(time: Micros) -> i64 {
    i64::try_from(time.get()).unwrap_or(i64::MAX)
}

/// Converts an error inside a transaction, which is then rolled back.
fn not_carried_out(error: rusqlite::Error) -> StorageError {
    StorageError::not_carried_out(error)
}
