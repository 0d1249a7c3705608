//! The header fields of a stranger: any bytes leave the answer where the proxies put it.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/forwarded.rs"]
mod forwarded;

fuzz_target!(|bytes: &[u8]| forwarded::check(bytes));
