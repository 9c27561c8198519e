//! zstd in pure Rust, for wasm32: reads every frame, writes at one (the fastest) level.

use std::io::Read;

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// The window that a decoder makes room for even if the chunk is smaller: encoders round theirs up.
const WINDOW_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// The length of a frame at the start of `room`, or nothing if it does not fit. The crate has a single level, and writes to
/// memory of its own first.
pub(in crate::ces) fn compress(plain: &[u8], _level: u8, room: &mut [u8]) -> Option<usize> {
    let frame = compress_to_vec(plain, CompressionLevel::Fastest);
    room.get_mut(..frame.len())?.copy_from_slice(&frame);
    Some(frame.len())
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
