//! A request's body in aws-chunked framing.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::front::chunked(data));
