//! What a server answers, as bytes: bounded, and errors as text, before it is parsed.
//!
//! The parser keeps what it has until an answer is complete, however long that is, and gives a connection up
//! for an error that is not UTF-8. So the bytes are looked at first, no more than is needed to know where each
//! value begins ([RESP]).
//!
//! [RESP]: https://redis.io/docs/latest/develop/reference/protocol-spec/

use std::{fmt, io};

/// The bytes of an answer, and of what holds its values in memory, while a connection is made.
pub(super) const MAX_HANDSHAKE_REPLY: usize = 1 << 20;
/// And later on. All entries of large lists are one answer.
pub(super) const MAX_REPLY: usize = 32 << 20;
/// The longest line; only an error is cut there, and read on.
const MAX_LINE: usize = 64 << 10;
/// An error is passed on up to here.
pub(crate) const MAX_ERROR: usize = 1 << 10;
/// What a value takes beside its bytes.
const VALUE_OVERHEAD: usize = 64;

/// Follows the bytes of answers.
#[derive(Debug)]
pub(super) struct RespScanner {
    limit: usize,
    state: State,
    /// How many values of this answer are yet to come.
    pending: usize,
    size: usize,
    complete: u64,
}

#[derive(Debug)]
enum State {
    /// A value begins.
    Value,
    Line(Line),
    /// So many bytes are still to come, with the end of their line.
    Body(usize),
    /// This is not the protocol, as the parser will say.
    Invalid,
}

#[derive(Debug)]
struct Line {
    kind: u8,
    length: usize,
    /// Its beginning, for those that are a number.
    number: [u8; 24],
    is_ending: bool,
}

/// An answer that is too long.
#[derive(Copy, Clone, Debug)]
pub(super) struct ReplyTooLarge(usize);

impl RespScanner {
    pub(super) fn new() -> Self {
        Self { limit: MAX_HANDSHAKE_REPLY, state: State::Value, pending: 1, size: 0, complete: 0 }
    }

    /// Sets how much an answer may take.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Returns how many answers are complete.
    pub(super) fn complete(&self) -> u64 {
        self.complete
    }

    /// Looks at the bytes that came, changes them where the parser could not read them, and returns how many
    /// are left.
    ///
    /// # Errors
    ///
    /// When an answer is, or will be, longer than it may.
    pub(super) fn scan(&mut self, bytes: &mut [u8]) -> Result<usize, ReplyTooLarge> {
        let (mut at, mut kept) = (0, 0);
        while at < bytes.len() {
            match &mut self.state {
                State::Invalid => {
                    let rest = bytes.len() - at;
                    bytes.copy_within(at.., kept);
                    self.grow(rest)?;
                    return Ok(kept + rest);
                }
                State::Body(left) => {
                    let length = (*left).min(bytes.len() - at);
                    *left -= length;
                    let is_over = *left == 0;
                    bytes.copy_within(at..at + length, kept);
                    (at, kept) = (at + length, kept + length);
                    if is_over {
                        self.end_value();
                    }
                }
                State::Value => {
                    bytes[kept] = bytes[at];
                    self.state = match bytes[at] {
                        kind @ (b'+' | b'-' | b':' | b'$' | b'*' | b'_' | b'#' | b',' | b'('
                        | b'!' | b'=' | b'%' | b'~' | b'|' | b'>') => State::Line(Line::of(kind)),
                        _ => State::Invalid,
                    };
                    (at, kept) = (at + 1, kept + 1);
                    self.grow(1)?;
                }
                State::Line(line) => {
                    let is_over = line.take(bytes[at]);
                    if let Some(byte) = line.forwarded(bytes[at], is_over) {
                        bytes[kept] = byte;
                        kept += 1;
                    }
                    at += 1;
                    let (kind, length) = (line.kind, line.length);
                    if kind != b'-' && length > MAX_LINE {
                        return Err(ReplyTooLarge(MAX_LINE));
                    }
                    if is_over {
                        let number = line.number();
                        self.end_line(kind, number)?;
                    } else {
                        self.grow(1)?;
                    }
                }
            }
        }
        Ok(kept)
    }

    /// Looks at a whole line, after which there may be bytes or values of the same value.
    fn end_line(&mut self, kind: u8, number: Option<i64>) -> Result<(), ReplyTooLarge> {
        if !b"$!=*~>%|".contains(&kind) {
            self.end_value();
            return Ok(());
        }
        let Some(number) = number else {
            self.state = State::Invalid;
            return Ok(());
        };
        let Ok(length) = usize::try_from(number) else {
            // It stands for nothing, or for a length for which the parser would wait for ever.
            if b"!=%|".contains(&kind) {
                return Err(ReplyTooLarge(self.limit));
            }
            self.end_value();
            return Ok(());
        };
        let values = match kind {
            b'$' => return self.begin_body(length, self.limit),
            b'!' | b'=' => return self.begin_body(length, MAX_LINE),
            b'%' => length.saturating_mul(2),
            b'|' => length.saturating_mul(2).saturating_add(1),
            _ => length,
        };
        self.grow(values.saturating_mul(VALUE_OVERHEAD))?;
        self.pending += values; // which is bounded now
        self.end_value();
        Ok(())
    }

    fn begin_body(&mut self, length: usize, limit: usize) -> Result<(), ReplyTooLarge> {
        if length > limit {
            return Err(ReplyTooLarge(limit));
        }
        self.grow(length)?;
        self.state = State::Body(length + 2); // with the end of its line
        Ok(())
    }

    fn end_value(&mut self) {
        self.state = State::Value;
        self.pending -= 1;
        if self.pending == 0 {
            (self.pending, self.size) = (1, 0);
            self.complete += 1;
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), ReplyTooLarge> {
        self.size = self.size.saturating_add(bytes);
        if self.size > self.limit { Err(ReplyTooLarge(self.limit)) } else { Ok(()) }
    }
}

impl Line {
    fn of(kind: u8) -> Self {
        Self { kind, length: 0, number: [0; 24], is_ending: false }
    }

    /// Takes one byte, and returns whether the line ends with it.
    fn take(&mut self, byte: u8) -> bool {
        if let Some(slot) = self.number.get_mut(self.length) {
            *slot = byte;
        }
        self.length += 1;
        let is_over = self.is_ending && byte == b'\n';
        self.is_ending = byte == b'\r';
        is_over
    }

    /// Returns what the parser is to read in slot of a byte that was taken.
    fn forwarded(&self, byte: u8, is_over: bool) -> Option<u8> {
        if self.kind != b'-' || is_over || byte == b'\r' {
            return Some(byte);
        }
        (self.length <= MAX_ERROR).then_some(as_text(byte))
    }

    /// Returns the number that the line is, as the parser reads it.
    fn number(&self) -> Option<i64> {
        let digits = self.number.get(..self.length.checked_sub(2)?)?;
        std::str::from_utf8(digits).ok()?.trim().parse().ok()
    }
}

/// Returns what stands in the text of an error for a byte: an error may repeat arguments that are no text.
pub(crate) fn as_text(byte: u8) -> u8 {
    if byte == b' ' || byte.is_ascii_graphic() { byte } else { b'?' }
}

impl std::error::Error for ReplyTooLarge {}

impl fmt::Display for ReplyTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an answer is larger than it may be ({} KiB), so the connection was closed",
            self.0 >> 10
        )
    }
}

impl From<ReplyTooLarge> for io::Error {
    fn from(error: ReplyTooLarge) -> Self {
        // A kind after which the connection is used no more.
        Self::new(io::ErrorKind::ConnectionAborted, error)
    }
}

#[cfg(test)]
mod tests;
