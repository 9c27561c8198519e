//! Frames between nodes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::wire::node_frames(data));
