//! The slots of a cluster: the slot of a key, and the masters of the slots.

use redis::Value;

use crate::options::Address;

/// The number of slots of a cluster.
pub(super) const SLOTS: u16 = 16_384;

/// Returns the slot of a key: the CRC-16 of its hash tag (the text in the first pair of braces), or of the
/// whole key without a hash tag ([Redis Cluster specification]).
///
/// [Redis Cluster specification]: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
pub(super) fn slot_of(key: &[u8]) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(hash_tag(key).unwrap_or(key)) % SLOTS
}

fn hash_tag(key: &[u8]) -> Option<&[u8]> {
    let open = key.iter().position(|b| *b == b'{')? + 1;
    let length = key[open..].iter().position(|b| *b == b'}')?;
    (length > 0).then(|| &key[open..open + length])
}

/// A range of slots and its master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) master: Address,
}

/// Decodes the answer to `CLUSTER SLOTS`. A node without a host is on the host that answered.
pub(super) fn read(answer: &Value, asked: &str) -> Option<Vec<Range>> {
    let Value::Array(ranges) = answer else { return None };
    ranges.iter().map(|range| read_range(range, asked)).collect()
}

/// Returns whether a node reported no host for another node, which is then on the same host.
pub(super) fn is_unknown(host: &str) -> bool {
    matches!(host, "" | "?")
}

fn read_range(range: &Value, asked: &str) -> Option<Range> {
    let Value::Array(parts) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &parts[..] else {
        return None;
    };
    let [host, Value::Int(port), ..] = &master[..] else { return None };
    let host = match host {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
        Value::SimpleString(text) => text,
        Value::Nil => "",
        _ => return None,
    };
    let host = if is_unknown(host) { asked } else { host };
    let (first, last) = (u16::try_from(*first).ok()?, u16::try_from(*last).ok()?);
    let master = Address { host: host.to_owned(), port: u16::try_from(*port).ok()? };
    (first <= last && last < SLOTS).then_some(Range { first, last, master })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(slot_of(b"123456789"), 0x31c3); // the published check value of CRC-16/XMODEM
        assert_eq!(slot_of(b"foo"), 12182);
        assert_eq!(slot_of(b"p:{foo}:api"), slot_of(b"foo"));
        assert_eq!(slot_of(b"{foo}{bar}"), slot_of(b"foo"));
        assert_eq!(
            slot_of(b"foo{}{bar}"),
            crc16::State::<crc16::XMODEM>::calculate(b"foo{}{bar}") % SLOTS
        );
        assert_eq!(slot_of(b"foo{{bar}}zap"), slot_of(b"{bar"));
        assert_eq!(slot_of(b""), 0);
    }

    fn answer(host: Value, first: i64, last: i64, port: i64) -> Value {
        let master = Value::Array(vec![host, Value::Int(port), Value::Nil]);
        Value::Array(vec![Value::Array(vec![Value::Int(first), Value::Int(last), master])])
    }

    #[test]
    fn a_node_without_a_host_is_on_the_host_that_answered() {
        let host = Value::BulkString(b"10.0.0.1".to_vec());
        let ranges = read(&answer(host, 0, 5460, 7000), "asked").unwrap();
        assert_eq!(ranges[0].master.to_string(), "10.0.0.1:7000");
        let ranges = read(&answer(Value::Nil, 0, 5460, 7000), "asked").unwrap();
        assert_eq!(ranges[0].master.host, "asked");
    }

    #[test]
    fn an_answer_out_of_range_is_rejected() {
        for (first, last, port) in [(-1, 3, 1), (4, 3, 1), (0, 16_384, 1), (0, 1, 70_000)] {
            assert_eq!(read(&answer(Value::Nil, first, last, port), "h"), None);
        }
        assert_eq!(read(&Value::Int(1), "h"), None);
        assert_eq!(read(&Value::Array(vec![Value::Nil]), "h"), None);
    }
}
