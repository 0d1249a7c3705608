//! Parses untrusted header fields: bytes of a client must not change the address that the proxies added.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/forwarded.rs"]
mod forwarded;

fuzz_target!(|bytes: &[u8]| forwarded::check(bytes));
