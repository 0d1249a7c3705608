//! A state as bytes, for storages that keep bytes.
//!
//! A tag ([`tag`](super::tag)), then whole numbers, each as [LEB128](https://dwarfstd.org/doc/DWARF5.pdf) (section 7.6):
//! a counter takes about a dozen bytes.
//!
//! | tag | numbers |
//! | --- | --- |
//! | with the flag `BLOCKED` | of the block: until, length; then as without the flag |
//! | vacant | none |
//! | fixed window | start, used |
//! | sliding window counter | start, previous count, current count |
//! | sliding window log | entries, then for each: moment (from the one before), cost |
//! | bucket | backlog, moment, window, rate |
//! | bucket, `RECEIPT_OFFSET` | as a bucket, then the offset, since when |
//! | bucket, `FREED_SLOTS` | as a bucket, then how many, then of each: from, to (both from the one before) |

use super::{
    block::Block,
    bucket::{Bucket, ReceiptOffset, Returned},
    fixed_window::FixedWindow,
    freed_slots::{FreedSlot, FreedSlots, MAX_SLOTS},
    sliding_counter::SlidingCounter,
    sliding_log::SlidingLog,
    state::{State, Usage},
    tag::{
        BLOCKED, BUCKET, FIXED_WINDOW, FREED_SLOTS, RECEIPT_OFFSET, SLIDING_WINDOW_COUNTER,
        SLIDING_WINDOW_LOG, VACANT,
    },
};
use crate::{exact::PackedU128, time::Micros};

const BUCKET_WITH_OFFSET: u8 = BUCKET | RECEIPT_OFFSET;
const BUCKET_WITH_SLOTS: u8 = BUCKET | FREED_SLOTS;

/// Says that bytes are no state.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the value is no rate limit state: {0}")]
pub struct CorruptState(&'static str);

impl State {
    /// Returns the state as bytes that [`State::decode`] reads.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.usage.tag() | if self.block.is_some() { BLOCKED } else { 0 }];
        if let Some(Block { until, length }) = self.block.as_deref().copied() {
            put(&mut out, until.get());
            put(&mut out, length.get());
        }
        match &self.usage {
            Usage::Vacant => {}
            Usage::FixedWindow(state) => {
                put(&mut out, state.start.get());
                put(&mut out, state.used);
            }
            Usage::SlidingCounter(state) => {
                put(&mut out, state.start.get());
                put(&mut out, state.prev);
                put(&mut out, state.cur);
            }
            Usage::SlidingLog(state) => {
                put(&mut out, state.entries.len() as u64);
                let mut before = Micros::ZERO;
                for &(at, cost) in &state.entries {
                    put(&mut out, at.since(before).get());
                    put(&mut out, cost);
                    before = at;
                }
            }
            Usage::Bucket(state) => {
                put(&mut out, state.backlog.get());
                put(&mut out, state.at.get());
                put(&mut out, state.window.get());
                put(&mut out, state.rate);
                match state.returned.as_deref() {
                    None => {}
                    Some(Returned::Offset(ReceiptOffset { by, since })) => {
                        put(&mut out, by.get());
                        put(&mut out, since.get());
                    }
                    Some(Returned::FreedSlots(FreedSlots(slots))) => {
                        put(&mut out, slots.len() as u64);
                        let mut before = 0;
                        for slot in slots {
                            put(&mut out, slot.from.get().saturating_sub(before));
                            put(&mut out, slot.len());
                            before = slot.to.get();
                        }
                    }
                }
            }
        }
        out
    }

    /// Reads a state.
    ///
    /// # Errors
    ///
    /// [`CorruptState`] when the bytes were not made by [`State::encode`]: an unknown tag, too few or
    /// too many bytes, a number that does not fit.
    pub fn decode(bytes: &[u8]) -> Result<Self, CorruptState> {
        let (&tag, rest) = bytes.split_first().ok_or(CorruptState("it is empty"))?;
        let mut input = Input(rest);
        let block = if tag & BLOCKED == 0 {
            None
        } else {
            Some(Box::new(Block { until: input.moment()?, length: input.moment()? }))
        };
        let usage = match tag & !BLOCKED {
            VACANT => Usage::Vacant,
            FIXED_WINDOW => {
                Usage::FixedWindow(FixedWindow { start: input.moment()?, used: input.count()? })
            }
            SLIDING_WINDOW_COUNTER => Usage::SlidingCounter(SlidingCounter {
                start: input.moment()?,
                prev: input.count()?,
                cur: input.count()?,
            }),
            SLIDING_WINDOW_LOG => Usage::SlidingLog(input.log()?),
            BUCKET => Usage::Bucket(input.bucket()?),
            BUCKET_WITH_OFFSET => {
                let mut bucket = input.bucket()?;
                let by = PackedU128::new(input.number()?);
                let offset = ReceiptOffset { by, since: input.moment()? };
                bucket.returned = Some(Box::new(Returned::Offset(offset)));
                Usage::Bucket(bucket)
            }
            BUCKET_WITH_SLOTS => {
                let mut bucket = input.bucket()?;
                let slots = input.freed_slots(bucket.backlog.get())?;
                bucket.returned = Some(Box::new(Returned::FreedSlots(slots)));
                Usage::Bucket(bucket)
            }
            _ => return Err(CorruptState("its tag is unknown")),
        };
        if !input.0.is_empty() {
            return Err(CorruptState("it is too long"));
        }
        Ok(Self { block, usage })
    }
}

impl Usage {
    fn tag(&self) -> u8 {
        match self {
            Self::Vacant => VACANT,
            Self::FixedWindow(_) => FIXED_WINDOW,
            Self::SlidingCounter(_) => SLIDING_WINDOW_COUNTER,
            Self::SlidingLog(_) => SLIDING_WINDOW_LOG,
            Self::Bucket(state) => match state.returned.as_deref() {
                None => BUCKET,
                Some(Returned::Offset(_)) => BUCKET_WITH_OFFSET,
                Some(Returned::FreedSlots(_)) => BUCKET_WITH_SLOTS,
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
            let (&byte, rest) = self.0.split_first().ok_or(CorruptState("it is cut short"))?;
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

    fn count(&mut self) -> Result<u64, CorruptState> {
        u64::try_from(self.number()?).map_err(|_| CorruptState("a number does not fit"))
    }

    fn moment(&mut self) -> Result<Micros, CorruptState> {
        self.count().map(Micros::new)
    }

    fn bucket(&mut self) -> Result<Bucket, CorruptState> {
        Ok(Bucket {
            backlog: PackedU128::new(self.number()?),
            at: self.moment()?,
            window: self.moment()?,
            rate: self.count()?,
            returned: None,
        })
    }

    fn freed_slots(&mut self, end: u128) -> Result<FreedSlots, CorruptState> {
        let len = usize::try_from(self.count()?).unwrap_or(usize::MAX);
        if !(1..=MAX_SLOTS).contains(&len) {
            return Err(CorruptState("its freed slots are too many"));
        }
        let (mut slots, mut before) = (Vec::with_capacity(len), 0_u128);
        for _ in 0..len {
            let (skipped, len) = (self.number()?, self.number()?);
            let from = before.saturating_add(skipped);
            let to = from.saturating_add(len);
            if len == 0 || to > end {
                return Err(CorruptState("a freed slot is out of place"));
            }
            slots.push(FreedSlot::new(from, to));
            before = to;
        }
        Ok(FreedSlots(slots))
    }

    fn log(&mut self) -> Result<SlidingLog, CorruptState> {
        let len = usize::try_from(self.count()?).unwrap_or(usize::MAX);
        if len > self.0.len() / 2 {
            return Err(CorruptState("it is cut short"));
        }
        let mut log = SlidingLog::default();
        log.entries.reserve(len);
        let mut at = Micros::ZERO;
        for _ in 0..len {
            at = at.plus(self.moment()?);
            let cost = self.count()?;
            log.sum = log.sum.checked_add(cost).ok_or(CorruptState("a number does not fit"))?;
            log.entries.push_back((at, cost));
        }
        Ok(log)
    }
}
