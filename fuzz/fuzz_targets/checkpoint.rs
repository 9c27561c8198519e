//! A drive's checkpoint.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::drive::checkpoint(data));
