//! Reads of the shared lists: recent changes, or all entries in pages.

use std::time::Duration;

use throttle_core::{Entry, ListMatch, StorageError};
use tokio::time::{Instant, sleep};

use super::copy::{Change, Copy, End};
use crate::{
    client::Client,
    error::unreadable,
    lua::{LISTS, ScriptCall},
};

/// The maximum number of changes that the script returns at once, including the last known one.
const CHANGES_READ: usize = 500;
/// The number of attempts to read all entries, if they change too fast in the meantime.
const ATTEMPTS: usize = 3;
/// The pause between two pages, as a multiple of the time that the last page took.
const PAUSE_FACTOR: u32 = 4;
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// An answer of the script.
pub(super) struct Answer {
    /// The time of Redis in milliseconds.
    now: u64,
    texts: Vec<String>,
}

/// The changes after a version.
pub(super) struct Changes {
    pub(super) version: String,
    pub(super) now: u64,
    pub(super) changes: Vec<Change>,
    /// There may be more changes.
    pub(super) is_full: bool,
    unreadable: usize,
}

impl Answer {
    /// Returns the first text after the time, which is the status.
    pub(super) fn status(&self) -> &str {
        self.texts.first().map_or("", String::as_str)
    }
}

/// Returns the changes after a known version, or `None` if Redis no longer has that version.
pub(super) async fn changes(client: &Client, known: &str) -> Result<Option<Changes>, StorageError> {
    let answer = call(client, |call| {
        call.arg("changes").arg(known);
    });
    let Answer { now, texts } = answer.await?;
    let Some((version, texts)) = texts.split_first() else { return Ok(None) };
    let parts = texts.chunks_exact(3);
    let is_full = parts.len() + 1 >= CHANGES_READ;
    let read = |part: &[String]| {
        let list = if part[0] == "1" { ListMatch::Allowed } else { ListMatch::Denied };
        Some(Change { list, entry: Entry::decode(&part[1])?, end: end(&part[2]) })
    };
    let mut unreadable = 0;
    let changes = parts.filter_map(|part| {
        let change = read(part);
        unreadable += usize::from(change.is_none());
        change
    });
    let changes = changes.collect();
    Ok(Some(Changes { version: version.clone(), now, changes, is_full, unreadable }))
}

/// Reads all entries.
///
/// Entries may change between the pages, and such a change may be in the pages or not. So all changes since
/// before the first page are applied afterwards. Applying a change twice has no effect, and the copy is then
/// complete as of the last change.
pub(super) async fn load(client: &Client) -> Result<Copy, StorageError> {
    for _ in 0..ATTEMPTS {
        let mut copy = Copy::default();
        copy.version = latest(client).await?;
        for list in [ListMatch::Allowed, ListMatch::Denied] {
            read_pages(client, list, &mut copy).await?;
        }
        if apply_changes(client, &mut copy).await? {
            if copy.unreadable > 0 {
                tracing::warn!(
                    target: "ratethrottle::redis",
                    entries = copy.unreadable,
                    "the shared lists have entries that cannot be decoded; they are ignored"
                );
            }
            return Ok(copy);
        }
    }
    Err(StorageError::not_carried_out("the shared lists change too fast to be read"))
}

async fn latest(client: &Client) -> Result<String, StorageError> {
    let answer = call(client, |call| {
        call.arg("changes").arg("");
    });
    Ok(answer.await?.status().to_owned())
}

/// Reads the entries of a list in pages.
///
/// Pages are in the order of the entries' ends and texts, and continue after the last entry. So unchanged entries
/// are read exactly once, even if a failover occurs between two pages. The pauses leave Redis time for decisions.
async fn read_pages(client: &Client, list: ListMatch, copy: &mut Copy) -> Result<(), StorageError> {
    let (mut score, mut entry) = (String::new(), String::new());
    loop {
        let began = Instant::now();
        let answer = call(client, |call| {
            call.arg("page").arg(number(list)).arg(&score).arg(&entry);
        });
        let answer = answer.await?;
        let took = began.elapsed();
        copy.now = answer.now;
        let Some((_, entries)) = answer.texts.split_first() else {
            return Err(StorageError::not_carried_out(
                "the answer to the list script has no page; check that the server is Redis",
            ));
        };
        for part in entries.chunks_exact(2) {
            match Entry::decode(&part[0]) {
                Some(entry) => copy.apply(Change { list, entry, end: end(&part[1]) })?,
                None => copy.unreadable += 1,
            }
        }
        match answer.texts.as_slice() {
            [word, .., last, last_score] if word == "more" => {
                (entry, score) = (last.clone(), last_score.clone());
            }
            _ => return Ok(()),
        }
        sleep((took * PAUSE_FACTOR).clamp(MIN_PAUSE, MAX_PAUSE)).await;
    }
}

/// Applies the changes after the version of the copy. Returns whether Redis still has all of them.
pub(super) async fn apply_changes(client: &Client, copy: &mut Copy) -> Result<bool, StorageError> {
    loop {
        let Some(read) = changes(client, &copy.version).await? else { return Ok(false) };
        (copy.version, copy.now) = (read.version, read.now);
        copy.unreadable += read.unreadable;
        for change in read.changes {
            copy.apply(change)?;
        }
        if !read.is_full {
            return Ok(true);
        }
    }
}

/// Calls the list script.
pub(super) async fn call(
    client: &Client,
    arguments: impl FnOnce(&mut ScriptCall),
) -> Result<Answer, StorageError> {
    // The name cannot clash with an identity: after a %, those have two hexadecimal digits, `sha256:` or `hmac:`.
    let name = |name| client.keys.of_value(&format!("{{%lists}}:{name}"));
    let mut call = LISTS.call(&[name("allow"), name("deny"), name("changes")]);
    arguments(&mut call);
    let texts: Vec<Vec<u8>> = redis::from_redis_value(client.run(&call).await?)
        .map_err(|error| StorageError::not_carried_out(unreadable(&error)))?;
    let mut texts = texts.iter().map(|text| String::from_utf8_lossy(text).into_owned());
    let now = texts.next().and_then(|now| now.parse().ok());
    let now = now.ok_or_else(|| {
        StorageError::not_carried_out(
            "the answer to the list script has no time; check that the server is Redis",
        )
    })?;
    Ok(Answer { now, texts: texts.collect() })
}

/// Returns the number of a list in the script.
pub(super) fn number(list: ListMatch) -> u8 {
    match list {
        ListMatch::Allowed => 1,
        ListMatch::Denied => 2,
    }
}

/// Parses the end of an entry: milliseconds, or `inf`.
fn end(score: &str) -> End {
    score.parse().ok()
}
