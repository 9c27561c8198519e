//! zstd in pure Rust, for wasm32: reads every frame, writes at one (the fastest) level.

use std::io::Read;

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// The window that a decoder makes room for even if the chunk is smaller: encoders round theirs up.
const WINDOW_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// A frame of at most `frame_bytes_max`, or nothing. The crate has a single level.
pub(in crate::ces) fn compress(plain: &[u8], _level: u8, frame_bytes_max: usize) -> Option<Vec<u8>> {
    Some(compress_to_vec(plain, CompressionLevel::Fastest)).filter(|frame| frame.len() <= frame_bytes_max)
}

/// The plaintext of `frame`, if it has exactly `plain_len` bytes.
pub(in crate::ces) fn decompress(frame: &[u8], plain_len: usize) -> Option<Vec<u8>> {
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size((plain_len as u64).next_power_of_two().max(WINDOW_BYTES_MIN));
    let source = StreamingDecoder::new_with_decoder(frame, decoder).ok()?;
    let mut plain = Vec::with_capacity(plain_len);
    // One byte more than promised is enough to know that the promise was false.
    source.take(plain_len as u64 + 1).read_to_end(&mut plain).ok()?;
    (plain.len() == plain_len).then_some(plain)
}
