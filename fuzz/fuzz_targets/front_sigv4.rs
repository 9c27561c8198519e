//! A signature, in the header or in the query.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::front::sigv4(data));
