//! A scanner of replies in the Redis protocol ([RESP]), which runs before the client's parser.
//!
//! The parser has two properties that a malicious server could exploit. It buffers a reply of any size until the
//! reply is complete, and it drops the connection if an error is not UTF-8. So the scanner bounds the size of
//! replies, and replaces bytes of errors that are not printable ASCII. It decodes only enough to know where each
//! value starts.
//!
//! [RESP]: https://redis.io/docs/latest/develop/reference/protocol-spec/

use std::{fmt, io};

/// The largest reply during the handshake, in bytes, including the memory for its values.
pub(super) const MAX_HANDSHAKE_REPLY: usize = 1 << 20;
/// The largest reply after the handshake. A page of a large list is one reply.
pub(super) const MAX_REPLY: usize = 32 << 20;
/// The longest line, except for an error, which is truncated instead.
const MAX_LINE: usize = 64 << 10;
/// The length to which errors are truncated.
pub(crate) const MAX_ERROR: usize = 1 << 10;
/// The memory for a value in addition to its bytes.
const VALUE_OVERHEAD: usize = 64;

/// The scanner of one connection.
#[derive(Debug)]
pub(super) struct RespScanner {
    limit: usize,
    state: State,
    /// The number of values of this reply that have not started yet.
    pending: usize,
    size: usize,
    complete: u64,
}

#[derive(Debug)]
enum State {
    /// At the start of a value.
    Value,
    /// Within the line that starts with the type of a value.
    Line(Line),
    /// Within the body of a string. This many bytes are missing, including the line end.
    Body(usize),
    /// After bytes that are not RESP. They are passed on, and the parser reports the error.
    Invalid,
}

#[derive(Debug)]
struct Line {
    kind: u8,
    length: usize,
    /// The start of the line, which may be a number.
    number: [u8; 24],
    is_ending: bool,
}

/// The error of a reply that is too large, with its limit in bytes.
#[derive(Copy, Clone, Debug)]
pub(super) struct ReplyTooLarge(usize);

impl RespScanner {
    pub(super) fn new() -> Self {
        Self { limit: MAX_HANDSHAKE_REPLY, state: State::Value, pending: 1, size: 0, complete: 0 }
    }

    /// Sets the largest size of a reply.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Returns the number of complete replies.
    pub(super) fn complete(&self) -> u64 {
        self.complete
    }

    /// Scans received bytes, and edits error replies in place so that the parser accepts them. Returns the number of
    /// bytes that are left.
    ///
    /// # Errors
    ///
    /// Returns an error if a reply is larger than the limit, or announces a larger size.
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

    /// Handles the end of a line, which a body or nested values may follow.
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
            // A negative length: null for strings and arrays. For the other types it is invalid, and the parser would
            // wait forever.
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
        self.pending += values; // cannot overflow: `grow` has bounded it
        self.end_value();
        Ok(())
    }

    fn begin_body(&mut self, length: usize, limit: usize) -> Result<(), ReplyTooLarge> {
        if length > limit {
            return Err(ReplyTooLarge(limit));
        }
        self.grow(length)?;
        self.state = State::Body(length + 2); // with the line end
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

    /// Adds a byte, and returns whether the line ends with it.
    fn take(&mut self, byte: u8) -> bool {
        if let Some(slot) = self.number.get_mut(self.length) {
            *slot = byte;
        }
        self.length += 1;
        let is_over = self.is_ending && byte == b'\n';
        self.is_ending = byte == b'\r';
        is_over
    }

    /// Returns the byte to pass to the parser for a byte that was added.
    fn forwarded(&self, byte: u8, is_over: bool) -> Option<u8> {
        if self.kind != b'-' || is_over || byte == b'\r' {
            return Some(byte);
        }
        (self.length <= MAX_ERROR).then_some(as_text(byte))
    }

    /// Returns the line as a number, parsed as the client does.
    fn number(&self) -> Option<i64> {
        let digits = self.number.get(..self.length.checked_sub(2)?)?;
        std::str::from_utf8(digits).ok()?.trim().parse().ok()
    }
}

/// Returns the byte for the text of an error, in which arguments that are not text may be quoted.
pub(crate) fn as_text(byte: u8) -> u8 {
    if byte == b' ' || byte.is_ascii_graphic() { byte } else { b'?' }
}

impl std::error::Error for ReplyTooLarge {}

impl fmt::Display for ReplyTooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a reply is larger than {} KiB, so the connection was closed; check that the server is Redis",
            self.0 >> 10
        )
    }
}

impl From<ReplyTooLarge> for io::Error {
    fn from(error: ReplyTooLarge) -> Self {
        // The Redis client does not use a connection after an error of this kind.
        Self::new(io::ErrorKind::ConnectionAborted, error)
    }
}

#[cfg(test)]
mod tests;
