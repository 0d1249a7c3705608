//! One address from a stranger: any bytes are an address or nobody.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../checks/address.rs"]
mod address;

fuzz_target!(|bytes: &[u8]| address::check(bytes));
