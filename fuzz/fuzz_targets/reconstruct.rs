//! Shards from which others are rebuilt.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::erasure::reconstruct(data));
