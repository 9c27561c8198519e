//! What nodes say to each other about the cluster and about metadata.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| pangea_fuzz::cluster::words(data));
