//! The hops in `Forwarded`, from right to left.

use std::iter;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::FORWARDED;

use super::address::parse_node;

/// The length of the longest node, `[` + 45 + `]:65535`, plus a margin.
const MAX_NODE_LEN: usize = 64;

/// Returns the hops in the field from right to left; `None` is a hop that is not an address.
///
/// The syntax is defined in [RFC 7239, section 4]: all lines are one list, an element consists of
/// `name=value` pairs separated by semicolons, and a value is a token or a quoted string. Proxies also write
/// whitespace around semicolons, and unquoted colons and brackets; both are accepted, because they are not
/// ambiguous. An element with any other syntax error, without `for`, or with more than one `for` is not an
/// address.
///
/// [RFC 7239, section 4]: https://www.rfc-editor.org/rfc/rfc7239#section-4
pub(super) fn hops(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    headers
        .get_all(FORWARDED)
        .iter()
        .rev()
        .flat_map(|line| elements(line.as_bytes()))
        .map(parse_element)
}

/// Splits a line into its elements, from right to left.
///
/// If the field were read from the left, an unclosed quote from the client would include the elements that
/// proxies append. Read from the right, the client's elements cannot affect later ones.
fn elements(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    iter::from_fn(move || {
        let (before, last) = split_last(rest?);
        rest = before;
        Some(last)
    })
}

/// Splits the line at its last comma outside quotes.
fn split_last(line: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let mut quoted = false;
    for (at, byte) in line.iter().enumerate().rev() {
        let (before, from) = line.split_at(at);
        match byte {
            b'"' if !ends_in_escape(before) => quoted = !quoted,
            b',' if !quoted => return (Some(before), from.get(1..).unwrap_or_default()),
            _ => {}
        }
    }
    (None, line)
}

/// Returns whether the byte that follows this text is escaped.
///
/// A quote that opens or closes a string follows an even number of backslashes (`"\\"`), and a quote inside a
/// string an odd number (`"\""`). So the backslashes before a quote decide, in either reading direction.
fn ends_in_escape(text: &[u8]) -> bool {
    let backslashes = text.iter().rev().take_while(|byte| **byte == b'\\');
    backslashes.count() % 2 == 1
}

/// Returns the address in the `for` of an element.
fn parse_element(element: &[u8]) -> Option<IpAddr> {
    let mut node = None;
    let mut rest = element.trim_ascii();
    loop {
        // An empty pair is allowed: `for=192.0.2.1;`.
        if !rest.is_empty() && !rest.starts_with(b";") {
            let (name, value, after) = parse_pair(rest)?;
            if name.eq_ignore_ascii_case(b"for") && node.replace(value).is_some() {
                return None;
            }
            rest = after.trim_ascii_start();
        }
        rest = match rest {
            [] => return parse_value(node?),
            [b';', after @ ..] => after.trim_ascii_start(),
            _ => return None,
        };
    }
}

/// Splits off the first pair. Returns its name, its value without quotes, and the rest.
fn parse_pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (name, after) = split_token(text, is_token)?;
    let after = after.strip_prefix(b"=")?;
    let (value, after) = match after.strip_prefix(b"\"") {
        Some(text) => split_quoted(text)?,
        None => split_token(after, |byte| is_token(byte) || b":[]".contains(&byte))?,
    };
    Some((name, value, after))
}

/// Splits the text after an opening quote at its closing quote.
fn split_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    let end = text.iter().position(|byte| {
        let closes = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        closes
    })?;
    let (value, from) = text.split_at(end);
    Some((value, from.get(1..)?))
}

/// Parses the node in a value. A backslash is always an escape, because a token cannot contain one.
fn parse_value(value: &[u8]) -> Option<IpAddr> {
    if !value.contains(&b'\\') {
        return parse_node(value);
    }
    let mut node = [0; MAX_NODE_LEN];
    let mut length = 0;
    let mut bytes = value.iter();
    while let Some(byte) = bytes.next() {
        let plain = if *byte == b'\\' { bytes.next()? } else { byte };
        *node.get_mut(length)? = *plain;
        length += 1;
    }
    parse_node(node.get(..length)?)
}

/// Splits off the leading bytes that are accepted; at least one byte must be.
fn split_token(text: &[u8], accept: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| !accept(*byte));
    let (token, after) = text.split_at(end.unwrap_or(text.len()));
    (!token.is_empty()).then_some((token, after))
}

/// Returns whether the byte is a `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests;
