//! Parses an untrusted address: any bytes must be an address or unknown.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/address.rs"]
mod address;

fuzz_target!(|bytes: &[u8]| address::check(bytes));
