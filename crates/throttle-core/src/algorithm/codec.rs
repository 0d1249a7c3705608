//! The binary format of states.
//!
//! A state is a tag ([`tag`](super::tag)) and whole numbers, each as [LEB128](https://dwarfstd.org/doc/DWARF5.pdf)
//! (section 7.6). A counter takes about a dozen bytes.
//!
//! | tag | numbers |
//! | --- | --- |
//! | any, with `BLOCKED` | end and length of the block, then as without the flag |
//! | vacant | none |
//! | fixed window | start, used, window |
//! | sliding window counter | start, previous count, current count, window |
//! | sliding window log | window, number of entries, then for each entry: time since the previous one, cost |
//! | bucket | backlog, time, window, rate |
//! | bucket, `RECEIPT_OFFSET` | as a bucket, then the offset and its time |
//! | bucket, `FREED_SLOTS` | as a bucket, then the number of slots, then for each slot: start since the previous end, length |
//! | `MIXED` | number of algorithms, then the tag and the numbers of each |
//!
//! A number that no rule can cause is an error, so the arithmetic does not have to handle it: a count above the
//! highest limit, a window or block above [`MAX_SPAN`], a bucket that drains for centuries. Any time is valid: the
//! clock may have stepped back since, so a time can be in the future.

use std::mem::discriminant;

use super::{
    block::Block,
    bucket::{Bucket, ReceiptOffset, Refunded},
    fixed_window::FixedWindow,
    freed_slots::{FreedSlot, FreedSlots, MAX_SLOTS},
    sliding_counter::SlidingCounter,
    sliding_log::SlidingLog,
    state::{Extra, State, Usage},
    tag::{
        BLOCKED, BUCKET, FIXED_WINDOW, FREED_SLOTS, MIXED, RECEIPT_OFFSET, SLIDING_WINDOW_COUNTER,
        SLIDING_WINDOW_LOG, VACANT,
    },
};
use crate::{
    exact::{PackedU128, product},
    rule::checked::{MAX_LIMIT, MAX_LOG_LIMIT, MAX_SPAN},
    time::Micros,
};

const BUCKET_WITH_OFFSET: u8 = BUCKET | RECEIPT_OFFSET;
const BUCKET_WITH_SLOTS: u8 = BUCKET | FREED_SLOTS;
/// The number of kinds of usage.
const MOST_MIXED: u64 = 4;
/// The longest drain time that is accepted. A rule allows ten years, and replaced windows can multiply that.
const LONGEST_DRAIN: u64 = 1 << 53;

/// The error for bytes that are not a valid state.
#[derive(Copy, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the value is not a rate limit state: {0}")]
pub struct CorruptState(&'static str);

crate::debug_as_text!(CorruptState);

impl State {
    /// Returns the state as bytes that [`State::decode`] reads.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let none = Extra::default();
        let Extra { block, others } = self.extra.as_deref().unwrap_or(&none);
        let tag = if others.is_empty() { self.usage.tag() } else { MIXED };
        let mut out = vec![tag | if block.is_some() { BLOCKED } else { 0 }];
        if let Some(Block { until, length }) = block {
            put(&mut out, until.get());
            put(&mut out, length.get());
        }
        if others.is_empty() {
            self.usage.encode(&mut out);
            return out;
        }
        put(&mut out, 1 + others.len() as u64);
        for usage in std::iter::once(&self.usage).chain(others) {
            out.push(usage.tag());
            usage.encode(&mut out);
        }
        out
    }

    /// Reads a state from bytes that [`State::encode`] returned.
    ///
    /// # Errors
    ///
    /// Returns [`CorruptState`] for an unknown tag, too few or too many bytes, or a number out of range.
    pub fn decode(bytes: &[u8]) -> Result<Self, CorruptState> {
        let (&tag, rest) = bytes.split_first().ok_or(CorruptState("it is empty"))?;
        let mut input = Input(rest);
        let block = if tag & BLOCKED == 0 { None } else { Some(input.block()?) };
        let (usage, others) = match tag & !BLOCKED {
            MIXED => input.mixed()?,
            tag => (input.usage(tag)?, Vec::new()),
        };
        if !input.0.is_empty() {
            return Err(CorruptState("it is too long"));
        }
        let extra = Extra { block, others };
        let extra = (extra != Extra::default()).then(|| Box::new(extra));
        Ok(Self { usage, extra })
    }
}

impl Usage {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Vacant => {}
            Self::FixedWindow(state) => {
                put(out, state.start.get());
                put(out, state.used);
                put(out, state.window.get());
            }
            Self::SlidingCounter(state) => {
                put(out, state.start.get());
                put(out, state.prev);
                put(out, state.cur);
                put(out, state.window.get());
            }
            Self::SlidingLog(state) => {
                put(out, state.window.get());
                put(out, state.entries.len() as u64);
                let mut before = Micros::ZERO;
                for &(at, cost) in &state.entries {
                    put(out, at.since(before).get());
                    put(out, cost);
                    before = at;
                }
            }
            Self::Bucket(state) => {
                put(out, state.backlog.get());
                put(out, state.at.get());
                put(out, state.window.get());
                put(out, state.rate);
                match state.refunded.as_deref() {
                    None => {}
                    Some(Refunded::Offset(ReceiptOffset { by, since })) => {
                        put(out, by.get());
                        put(out, since.get());
                    }
                    Some(Refunded::FreedSlots(FreedSlots(slots))) => {
                        put(out, slots.len() as u64);
                        let mut before = 0;
                        for slot in slots {
                            put(out, slot.from.get().saturating_sub(before));
                            put(out, slot.len());
                            before = slot.to.get();
                        }
                    }
                }
            }
        }
    }

    fn tag(&self) -> u8 {
        match self {
            Self::Vacant => VACANT,
            Self::FixedWindow(_) => FIXED_WINDOW,
            Self::SlidingCounter(_) => SLIDING_WINDOW_COUNTER,
            Self::SlidingLog(_) => SLIDING_WINDOW_LOG,
            Self::Bucket(state) => match state.refunded.as_deref() {
                None => BUCKET,
                Some(Refunded::Offset(_)) => BUCKET_WITH_OFFSET,
                Some(Refunded::FreedSlots(_)) => BUCKET_WITH_SLOTS,
            },
        }
    }
}

fn put(out: &mut Vec<u8>, number: impl Into<u128>) {
    let mut number = number.into();
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn number(&mut self) -> Result<u128, CorruptState> {
        let mut number = 0_u128;
        for shift in (0..).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(CorruptState("it is truncated"))?;
            self.0 = rest;
            let part = u128::from(byte & 0x7f);
            if shift > 121 || (part << shift) >> shift != part {
                return Err(CorruptState("a number does not fit"));
            }
            number |= part << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(number)
    }

    fn at_most(&mut self, most: u64) -> Result<u64, CorruptState> {
        let number = u64::try_from(self.number()?).ok().filter(|number| *number <= most);
        number.ok_or(CorruptState("a number is out of range"))
    }

    fn count(&mut self) -> Result<u64, CorruptState> {
        self.at_most(MAX_LIMIT)
    }

    fn moment(&mut self) -> Result<Micros, CorruptState> {
        self.at_most(u64::MAX).map(Micros::new)
    }

    fn span(&mut self) -> Result<Micros, CorruptState> {
        self.at_most(MAX_SPAN.get()).map(Micros::new)
    }

    fn block(&mut self) -> Result<Block, CorruptState> {
        Ok(Block { until: self.moment()?, length: self.span()? })
    }

    /// Reads the usage of several algorithms: first for the latest rule, then the others.
    fn mixed(&mut self) -> Result<(Usage, Vec<Usage>), CorruptState> {
        let count = self.at_most(MOST_MIXED)?;
        let mut all: Vec<Usage> = Vec::new();
        for _ in 0..count {
            let (&tag, rest) = self.0.split_first().ok_or(CorruptState("it is truncated"))?;
            self.0 = rest;
            let usage = self.usage(tag)?;
            let same = |other: &Usage| discriminant(other) == discriminant(&usage);
            if usage == Usage::Vacant || all.iter().any(same) {
                return Err(CorruptState("it needs several different algorithms"));
            }
            all.push(usage);
        }
        if all.len() < 2 {
            return Err(CorruptState("it needs several different algorithms"));
        }
        let others = all.split_off(1);
        Ok((all.remove(0), others))
    }

    fn usage(&mut self, tag: u8) -> Result<Usage, CorruptState> {
        Ok(match tag {
            VACANT => Usage::Vacant,
            FIXED_WINDOW => Usage::FixedWindow(FixedWindow {
                start: self.moment()?,
                used: self.count()?,
                window: self.span()?,
            }),
            SLIDING_WINDOW_COUNTER => Usage::SlidingCounter(SlidingCounter {
                start: self.moment()?,
                prev: self.count()?,
                cur: self.count()?,
                window: self.span()?,
            }),
            SLIDING_WINDOW_LOG => Usage::SlidingLog(self.log()?),
            BUCKET => Usage::Bucket(self.bucket()?),
            BUCKET_WITH_OFFSET => {
                let mut bucket = self.bucket()?;
                let by = self.number()?;
                if by > product(MAX_LIMIT, bucket.window.get()) {
                    return Err(CorruptState("a number is out of range"));
                }
                let offset = ReceiptOffset { by: PackedU128::new(by), since: self.moment()? };
                bucket.refunded = Some(Box::new(Refunded::Offset(offset)));
                Usage::Bucket(bucket)
            }
            BUCKET_WITH_SLOTS => {
                let mut bucket = self.bucket()?;
                let slots = self.freed_slots(bucket.backlog.get())?;
                bucket.refunded = Some(Box::new(Refunded::FreedSlots(slots)));
                Usage::Bucket(bucket)
            }
            _ => return Err(CorruptState("its tag is unknown")),
        })
    }

    fn bucket(&mut self) -> Result<Bucket, CorruptState> {
        let bucket = Bucket {
            backlog: PackedU128::new(self.number()?),
            at: self.moment()?,
            window: self.span()?,
            rate: self.count()?,
            refunded: None,
        };
        let most = product(bucket.rate.max(1), LONGEST_DRAIN);
        let most = most.min(product(MAX_LIMIT + 1, bucket.window.get()));
        if bucket.backlog.get() > most {
            return Err(CorruptState("a number is out of range"));
        }
        Ok(bucket)
    }

    fn freed_slots(&mut self, end: u128) -> Result<FreedSlots, CorruptState> {
        let len = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if !(1..=MAX_SLOTS).contains(&len) {
            return Err(CorruptState("it has too many freed slots"));
        }
        let (mut slots, mut before) = (Vec::with_capacity(len), 0_u128);
        for _ in 0..len {
            let (skipped, len) = (self.number()?, self.number()?);
            let from = before.saturating_add(skipped);
            let to = from.saturating_add(len);
            if len == 0 || to > end {
                return Err(CorruptState("a freed slot is out of range"));
            }
            slots.push(FreedSlot::new(from, to));
            before = to;
        }
        Ok(FreedSlots(slots))
    }

    fn log(&mut self) -> Result<SlidingLog, CorruptState> {
        let window = self.span()?;
        let len = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if len > self.0.len() / 2 {
            return Err(CorruptState("it is truncated"));
        }
        let mut log = SlidingLog { window, ..SlidingLog::default() };
        log.entries.reserve(len);
        let mut at = Micros::ZERO;
        for _ in 0..len {
            at = at.plus(self.moment()?);
            let cost = self.count()?;
            log.sum += cost; // cannot overflow: both are far below 2^63
            if cost == 0 || log.sum > MAX_LOG_LIMIT {
                return Err(CorruptState("a number is out of range"));
            }
            log.entries.push_back((at, cost));
        }
        Ok(log)
    }
}
