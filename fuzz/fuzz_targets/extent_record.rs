//! The head of an extent record.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::drive::extent_record(data));
