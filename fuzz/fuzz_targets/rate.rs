//! Parses a rate: any text must be a rate or an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use throttle_core::Rate;

fuzz_target!(|text: &str| {
    let _ = Rate::parse(text);
});
