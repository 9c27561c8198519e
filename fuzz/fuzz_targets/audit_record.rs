//! An audit record in the clear.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::wire::audit_record(data));
