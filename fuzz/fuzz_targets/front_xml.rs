//! The documents that S3 requests carry.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::front::xml(data));
