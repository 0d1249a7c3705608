//! A request as the script's arguments.

use throttle_core::{Algorithm, Charge, Micros, Refund, StorageError};

use crate::lua::{CHECK, ScriptCall};

/// Says what to do with charges.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// Charge every rule, or none if one denies.
    Acquire,
    /// Answer as an acquire would, but charge nothing and shut nothing.
    Peek,
}

/// The latest time that is taken, in the year 2223: any span can be added to it below 2^53.
pub(super) const MAX_TIME: Micros = Micros::new(8_000_000_000_000_000);

/// The greatest limit of a sliding window log. To find how long a denied request waits the script walks over up to
/// half of the entries, some 0.2 µs each, and to forget what is over it may walk over all: Redis serves nobody else
/// meanwhile.
pub(crate) const MAX_LOG_LIMIT: u64 = 10_000;

/// More than any rule admits, so that no greater cost is answered otherwise.
const MAX_COST: u64 = throttle_core::MAX_LIMIT + 1;

#[derive(Debug, thiserror::Error)]
#[error(
    "the limit of rule {name:?} is {limit}, and a sliding window log in Redis has at most {MAX_LOG_LIMIT}; the sliding \
     window counter takes any limit"
)]
struct TooLongLog {
    name: String,
    limit: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("the clock is at {now} µs since 1970; Redis' script counts to the year 2223, 8·10^15 µs")]
struct TooLate {
    now: u64,
}

/// Returns the call for charges, whose keys are given in the same order, with the prefix.
///
/// `now` is the limiter's own time; without it the server's counts. The answer is read by
/// [`super::outcome`].
///
/// # Errors
///
/// When `now` is after the year 2223, and for a log beyond [`MAX_LOG_LIMIT`].
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

/// Returns the call that gives charges back; its answer is read by [`super::refunded`].
///
/// # Errors
///
/// When `now` is after the year 2223.
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
    for (place, number) in record[1..].chunks_exact_mut(8).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    record
}

/// Returns a receipt's mark, and its level as whole windows and what is left over.
fn receipt(refund: &Refund<'_>) -> [f64; 3] {
    let Some(receipt) = refund.receipt() else {
        return [-1.0, 0.0, 0.0];
    };
    let window = u128::from(refund.charge().rule().window().get());
    // A mark or level beyond what the script counts is none that it gave.
    let mark = receipt.charged_at().get().min(1 << 53);
    let level = receipt.fill_level().min(window << 53);
    [mark as f64, (level / window) as f64, (level % window) as f64]
}
