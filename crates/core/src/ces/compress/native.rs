//! zstd by its reference implementation.

/// The length of a frame at the start of `room`, or nothing if it does not fit.
pub(super) fn compress(plain: &[u8], level: u8, room: &mut [u8]) -> Option<usize> {
    // The only failure is a frame that outgrows its room, which is how most incompressible chunks end.
    zstd::bulk::compress_to_buffer(plain, room, level.into()).ok()
}

/// The plaintext of `frame`, if it has exactly `plain_len` bytes.
pub(super) fn decompress(frame: &[u8], plain_len: usize) -> Option<Vec<u8>> {
    let mut plain = vec![0; plain_len];
    let bytes = zstd::bulk::decompress_to_buffer(frame, &mut plain).ok()?;
    (bytes == plain_len).then_some(plain)
}
