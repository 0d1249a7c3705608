//! The script's answer.

use redis::{RedisError, Value};
use throttle_core::{Micros, Outcome, Receipt, StorageError, Verdict, mixed};

const ALLOWED: u8 = 1;
const BLOCKED: u8 = 2;
const WAITS: u8 = 4;
const CHARGED: u8 = 8;
const MIXED: u8 = 16;

const RECORD: usize = 1 + 7 * 8;

#[derive(Debug, thiserror::Error)]
#[error("the script's answer makes no sense ({0}); is something else than Redis answering?")]
struct Unexpected(&'static str);

#[derive(Debug, thiserror::Error)]
#[error(
    "key {key:?} cannot be read: {why}; something else writes under this name: give the storage a \
     prefix of its own, or delete the key"
)]
struct CorruptKey {
    key: String,
    why: String,
}

/// Reads the answer to [`super::acquire`] of charges with these keys.
///
/// # Errors
///
/// When it is no such answer; the call may have been carried out.
pub(crate) fn outcome(value: &Value, keys: &[String]) -> Result<Outcome, StorageError> {
    let Value::BulkString(bytes) = value else {
        return Err(unexpected("it is no string"));
    };
    let (records, rest) = bytes.as_chunks::<RECORD>();
    if !rest.is_empty() || records.len() != keys.len() {
        return Err(unexpected("its length is not that of the answers"));
    }
    let mut at = Micros::ZERO;
    let mut verdicts = Vec::with_capacity(keys.len());
    for (record, key) in records.iter().zip(keys) {
        if record[0] & MIXED != 0 {
            // Identities are not logged.
            mixed::warn_once(key.rsplit_once("}:").map_or("", |(_, rule)| rule));
        }
        let (time, verdict) = read(record).ok_or(unexpected("a number is out of range"))?;
        at = time;
        verdicts.push(verdict);
    }
    Ok(match verdicts[..] {
        [verdict] => Outcome::one(verdict, at),
        _ => Outcome::new(verdicts, at),
    })
}

/// Reads the answer to [`super::refund`].
///
/// # Errors
///
/// When it is no such answer; the call may have been carried out.
pub(crate) fn refunded(value: &Value) -> Result<(), StorageError> {
    match value {
        Value::Okay => Ok(()),
        _ => Err(unexpected("it is not OK")),
    }
}

/// Returns the error of a key that holds no state, if it is that; nothing was written then.
///
/// `keys` are those of the call.
pub(crate) fn corrupt(error: &RedisError, keys: &[String]) -> Option<StorageError> {
    if error.code() != Some("RTCORRUPT") {
        return None;
    }
    let (number, why) = error.detail()?.strip_prefix("key ")?.split_once(": ")?;
    let key = keys.get(number.parse::<usize>().ok()?.checked_sub(1)?)?.clone();
    Some(StorageError::of_key(CorruptKey { key, why: why.to_owned() }))
}

fn read(record: &[u8; RECORD]) -> Option<(Micros, Verdict)> {
    let [flags, numbers @ ..] = record;
    let (numbers, _) = numbers.as_chunks::<8>();
    let whole = |i: usize| whole(f64::from_be_bytes(*numbers.get(i)?));
    let micros = |i: usize| Some(Micros::new(u64::try_from(whole(i)?).ok()?));
    let is = |flag: u8| flags & flag != 0;

    let wait = if is(WAITS) { Some(micros(3)?) } else { None };
    let allowed = is(ALLOWED);
    let receipt = if is(CHARGED) {
        let level = u128::try_from(whole(5)? + whole(6)?).ok()?;
        Some(Receipt::new(micros(4)?, level))
    } else {
        None
    };
    let verdict = Verdict {
        allowed,
        blocked: is(BLOCKED),
        remaining: u64::try_from(whole(1)?).ok()?,
        reset_after: micros(2)?,
        retry_after: wait.filter(|_| !allowed),
        delay: wait.filter(|_| allowed).unwrap_or_default(),
        receipt,
    };
    Some((micros(0)?, verdict))
}

/// Returns a number that is whole, and not so great that it is none of the script's.
fn whole(number: f64) -> Option<i128> {
    let is_whole = number.abs() < 2_f64.powi(110) && number.fract() == 0.0;
    is_whole.then_some(number as i128)
}

fn unexpected(what: &'static str) -> StorageError {
    StorageError::other(Unexpected(what))
}
