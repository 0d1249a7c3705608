//! The answer of the script.

use redis::{RedisError, Value};
use throttle_core::{Micros, Outcome, Receipt, StorageError, Verdict, mixed};

const ALLOWED: u8 = 1;
const BLOCKED: u8 = 2;
const WAITS: u8 = 4;
const CHARGED: u8 = 8;
const MIXED: u8 = 16;

const RECORD: usize = 1 + 7 * 8;

#[derive(thiserror::Error)]
#[error("the reply of the script is invalid ({0}); check that the server is Redis")]
struct Unexpected(&'static str);

throttle_core::debug_as_text!(Unexpected);

#[derive(thiserror::Error)]
#[error(
    "key {key:?} cannot be read: {why}. Another program writes to this key: give the storage its own key_prefix, \
     or delete the key"
)]
struct CorruptKey {
    key: String,
    why: String,
}

throttle_core::debug_as_text!(CorruptKey);

/// Decodes the answer to [`super::acquire`] for charges with these keys.
///
/// # Errors
///
/// Returns an error if the answer is invalid. The call may still have been carried out.
pub(crate) fn outcome(value: &Value, keys: &[String]) -> Result<Outcome, StorageError> {
    let Value::BulkString(bytes) = value else {
        return Err(unexpected("it is not a string"));
    };
    let (records, rest) = bytes.as_chunks::<RECORD>();
    if !rest.is_empty() || records.len() != keys.len() {
        return Err(unexpected("its length does not match the number of keys"));
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

/// Decodes the answer to [`super::refund`].
///
/// # Errors
///
/// Returns an error if the answer is invalid. The call may still have been carried out.
pub(crate) fn refunded(value: &Value) -> Result<(), StorageError> {
    match value {
        Value::Okay => Ok(()),
        _ => Err(unexpected("it is not OK")),
    }
}

/// Returns the error of a corrupt key, if the script reported one. In that case the script wrote nothing.
///
/// `keys` are the keys of the call.
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
        unlimited: false,
        remaining: u64::try_from(whole(1)?).ok()?,
        reset_after: micros(2)?,
        retry_after: wait.filter(|_| !allowed),
        delay: wait.filter(|_| allowed).unwrap_or_default(),
        receipt,
    };
    Some((micros(0)?, verdict))
}

/// Returns the number as an integer, if it is one and within the range of the script.
fn whole(number: f64) -> Option<i128> {
    let is_whole = number.abs() < 2_f64.powi(110) && number.fract() == 0.0;
    is_whole.then_some(number as i128)
}

fn unexpected(what: &'static str) -> StorageError {
    StorageError::other(Unexpected(what))
}
