//! Ranges of reads and sources of copies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::front::range(data));
