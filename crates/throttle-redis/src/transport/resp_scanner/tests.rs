//! Tests with replies in pieces of any size, compared with the client's parser.

use proptest::prelude::*;

use super::*;

/// Scans bytes in pieces, and returns the bytes that the parser gets.
fn read(scanner: &mut RespScanner, bytes: &[u8], piece: usize) -> Result<Vec<u8>, ReplyTooLarge> {
    let mut passed = Vec::new();
    for piece in bytes.chunks(piece) {
        let mut piece = piece.to_vec();
        let kept = scanner.scan(&mut piece)?;
        passed.extend_from_slice(&piece[..kept]);
    }
    Ok(passed)
}

#[test]
fn replies_of_every_type_are_counted_and_passed_on_unchanged() {
    let all: [&[u8]; 17] = [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":-7\r\n",
        b"$5\r\nab\r\nc\r\n",
        b"$-1\r\n",
        b"$0\r\n\r\n",
        b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n",
        b"*0\r\n",
        b"*-1\r\n",
        b"_\r\n",
        b"#t\r\n",
        b",1.5\r\n",
        b"(12345678901234567890123456789012345\r\n",
        b"%1\r\n+k\r\n*2\r\n:1\r\n:2\r\n",
        b"|1\r\n+k\r\n:1\r\n$2\r\nab\r\n",
        b">2\r\n+message\r\n=6\r\ntxt:ab\r\n",
        b"!9\r\nERR wrong\r\n",
    ];
    for piece in 1..20 {
        let mut scanner = RespScanner::new();
        for (count, answer) in (1..).zip(all) {
            assert_eq!(read(&mut scanner, answer, piece).unwrap(), answer);
            assert_eq!(scanner.complete(), count, "{}", String::from_utf8_lossy(answer));
        }
    }
}

#[test]
fn an_error_becomes_printable_and_is_truncated_and_the_next_reply_is_unchanged() {
    let long = [&b"-ERR "[..], &[0xff; 5_000], b"\r\n:1\r\n"].concat();
    for piece in [1, 7, 1_024, 10_000] {
        let mut scanner = RespScanner::new();
        let error = b"-ERR unknown command 'EVALSHA' '\x01@\xf0\x00\n\xe2\x82' \r\n$1\r\n\xff\r\n";
        let passed = read(&mut scanner, error, piece).unwrap();
        assert_eq!(passed, b"-ERR unknown command 'EVALSHA' '?@?????' \r\n$1\r\n\xff\r\n");
        let passed = read(&mut scanner, &long, piece).unwrap();
        assert!(passed.len() < 1_100 && passed.ends_with(b"?\r\n:1\r\n"), "{}", passed.len());
        assert_eq!(scanner.complete(), 4);
    }
}

#[test]
fn a_reply_that_is_too_large_is_an_error_as_soon_as_its_size_is_known() {
    for beginning in [
        "$2000000000\r\n",
        "*2000000000\r\n",
        "%9223372036854775807\r\n",
        "|9223372036854775807\r\n",
        "~100000\r\n",
        "!100000\r\n",
        "=-1\r\n",
        "%-1\r\n",
        "*10000\r\n*10000\r\n",
    ] {
        let mut scanner = RespScanner::new();
        let error = read(&mut scanner, beginning.as_bytes(), 5).unwrap_err();
        assert!(error.to_string().contains("a reply is larger than"), "{beginning}: {error}");
    }
    for (endless, end) in [("+", 70_000), (":", 70_000), ("-", 2 << 20), ("HTTP", 2 << 20)] {
        let mut scanner = RespScanner::new();
        let mut bytes = endless.as_bytes().to_vec();
        bytes.resize(end, b'a');
        assert!(read(&mut scanner, &bytes, 8_192).is_err(), "{endless}");
    }
}

#[test]
fn the_limit_applies_to_each_reply_separately() {
    let mut scanner = RespScanner::new();
    let one = [&b"$100000\r\n"[..], &[7; 100_000], b"\r\n"].concat();
    for _ in 0..100 {
        read(&mut scanner, &one, 4_096).unwrap();
    }
    assert_eq!(scanner.complete(), 100);
}

proptest! {
    /// Scans arbitrary bytes in arbitrary pieces: without a panic, and counting all values that the parser finds.
    #[test]
    fn the_scanner_counts_all_replies_that_the_parser_finds(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "+OK\r\n", "-E \u{fc}\r\n", ":1\r\n", "$2\r\nab\r\n", "$-1\r\n", "*2\r\n", "*0\r\n", "%1\r\n",
                "~1\r\n", "_\r\n", ">1\r\n", "\r\n", "x", "*", "9",
            ]),
            0..40,
        ),
        piece in 1_usize..50,
    ) {
        let bytes = parts.concat().into_bytes();
        let mut scanner = RespScanner::new();
        let passed = read(&mut scanner, &bytes, piece).unwrap();
        let (mut rest, mut values) = (&passed[..], 0);
        let mut parser = redis::Parser::new();
        while !rest.is_empty() {
            match parser.parse_value(&mut rest) {
                Ok(_) => values += 1,
                Err(_) => break,
            }
        }
        prop_assert!(scanner.complete() >= values, "{values} of {}", scanner.complete());
    }
}
