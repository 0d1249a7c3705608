//! The arguments of the script.

use throttle_core::{Algorithm, Charge, Micros, Refund, StorageError};

use crate::lua::{CHECK, ScriptCall};

/// An operation on charges.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// Charges every rule, or none if one denies.
    Acquire,
    /// Answers as an acquire would, but neither charges nor blocks a key.
    Peek,
}

/// The latest time of a clock, in the year 2223: with any duration added it stays below 2^53.
pub(super) const MAX_TIME: Micros = Micros::new(8_000_000_000_000_000);

/// The highest limit of a sliding window log.
///
/// To compute the wait of a denied request, the script reads up to half of the entries, at about 0.2 µs each.
/// To remove expired entries it may read all. Meanwhile, Redis does not serve other clients.
pub(crate) const MAX_LOG_LIMIT: u64 = 10_000;

/// A cost that every rule denies. Higher costs are sent as this one: their answer is the same.
const MAX_COST: u64 = throttle_core::MAX_LIMIT + 1;

#[derive(thiserror::Error)]
#[error(
    "the limit of rule {name:?} is {limit}, but a sliding window log in Redis supports at most {MAX_LOG_LIMIT}; use \
     the sliding window counter for higher limits"
)]
struct TooLongLog {
    name: String,
    limit: u64,
}

throttle_core::debug_as_text!(TooLongLog);

#[derive(thiserror::Error)]
#[error(
    "the limiter's clock is at {now} µs since 1970; the Redis storage supports times up to 8·10^15 µs (the year 2223)"
)]
struct TooLate {
    now: u64,
}

throttle_core::debug_as_text!(TooLate);

/// Returns the call that decides charges. `keys` are their keys in the same order, with the prefix.
///
/// `now` is the limiter's own time; `None` means the server's time. [`super::outcome`] decodes the answer.
///
/// # Errors
///
/// Returns an error if `now` is after the year 2223, or the limit of a sliding window log is above [`MAX_LOG_LIMIT`].
pub(crate) fn acquire(
    op: Op,
    keys: &[String],
    charges: &[Charge<'_>],
    now: Option<Micros>,
) -> Result<ScriptCall, StorageError> {
    let op = match op {
        Op::Acquire => "acquire",
        Op::Peek => "peek",
    };
    let mut call = call(op, keys, now)?;
    for charge in charges {
        let rule = charge.rule();
        if rule.algorithm() == Algorithm::SlidingWindowLog && rule.limit() > MAX_LOG_LIMIT {
            let (name, limit) = (rule.name().to_owned(), rule.limit());
            return Err(StorageError::of_key(TooLongLog { name, limit }));
        }
        call.arg(&record(charge)[..]);
    }
    Ok(call)
}

/// Returns the call that refunds charges. [`super::refunded`] decodes the answer.
///
/// # Errors
///
/// Returns an error if `now` is after the year 2223.
pub(crate) fn refund(
    keys: &[String],
    refunds: &[Refund<'_>],
    now: Option<Micros>,
) -> Result<ScriptCall, StorageError> {
    let mut call = call("refund", keys, now)?;
    for refund in refunds {
        let charge = refund.charge();
        let mut bytes = record(&charge).to_vec();
        for number in receipt(refund) {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        call.arg(&bytes[..]);
    }
    Ok(call)
}

fn call(op: &str, keys: &[String], now: Option<Micros>) -> Result<ScriptCall, StorageError> {
    let mut call = CHECK.call(keys);
    call.arg(op);
    match now {
        None => call.arg(""),
        Some(now) if now <= MAX_TIME => call.arg(now.get()),
        Some(now) => return Err(StorageError::not_carried_out(TooLate { now: now.get() })),
    };
    Ok(call)
}

const RECORD: usize = 1 + 6 * 8;

fn record(charge: &Charge<'_>) -> [u8; RECORD] {
    let rule = charge.rule();
    let numbers = [
        rule.limit() as f64,
        rule.window().get() as f64,
        rule.capacity() as f64,
        rule.block().unwrap_or_default().get() as f64,
        charge.cost().min(MAX_COST) as f64,
        rule.max_delay().map_or(-1.0, |longest| longest.get() as f64),
    ];
    let mut record = [rule.algorithm().number(); RECORD];
    for (bytes, number) in record[1..].chunks_exact_mut(8).zip(numbers) {
        bytes.copy_from_slice(&number.to_be_bytes());
    }
    record
}

/// Returns a receipt's time of charge, and its fill level as whole windows and the remainder.
fn receipt(refund: &Refund<'_>) -> [f64; 3] {
    let Some(receipt) = refund.receipt() else {
        return [-1.0, 0.0, 0.0];
    };
    let window = u128::from(refund.charge().rule().window().get());
    // The script never issues a higher time or level, so such a receipt is forged; it must still fit a double.
    let mark = receipt.charged_at().get().min(1 << 53);
    let level = receipt.fill_level().min(window << 53);
    [mark as f64, (level / window) as f64, (level % window) as f64]
}
