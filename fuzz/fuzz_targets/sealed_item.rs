//! A sealed item, and a pack of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::sealed::item(data));
