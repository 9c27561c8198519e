//! zstd by its reference implementation.

/// A frame of at most `frame_bytes_max`, or nothing.
pub(super) fn compress(plain: &[u8], level: u8, frame_bytes_max: usize) -> Option<Vec<u8>> {
    let mut frame = vec![0; frame_bytes_max];
    // The only failure is a frame that outgrows its room, which is how most incompressible chunks end.
    let bytes = zstd::bulk::compress_to_buffer(plain, &mut frame, level.into()).ok()?;
    frame.truncate(bytes);
    Some(frame)
}

/// The plaintext of `frame`, if it has exactly `plain_len` bytes.
pub(super) fn decompress(frame: &[u8], plain_len: usize) -> Option<Vec<u8>> {
    let mut plain = vec![0; plain_len];
    let bytes = zstd::bulk::decompress_to_buffer(frame, &mut plain).ok()?;
    (bytes == plain_len).then_some(plain)
}
