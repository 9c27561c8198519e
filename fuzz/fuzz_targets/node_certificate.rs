//! A certificate that a peer shows.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::wire::node_certificate(data));
