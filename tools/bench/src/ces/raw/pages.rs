//! Large pages for a buffer.

use std::mem::MaybeUninit;

use rustix::mm::{Advice, madvise};

const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Asks for large pages below a buffer that nobody has touched yet. It is a wish: without it everything is a little slower.
pub fn want_large(buffer: &mut [MaybeUninit<u8>]) {
    let lead = buffer.as_ptr().align_offset(LARGE_PAGE_BYTES);
    let Some(inside) = buffer.get_mut(lead..) else { return };
    let bytes = inside.len() / LARGE_PAGE_BYTES * LARGE_PAGE_BYTES;
    if bytes == 0 {
        return;
    }
    // SAFETY: the range is ours alone and page-aligned; this advice changes no byte of it.
    let outcome = unsafe { madvise(inside.as_mut_ptr().cast(), bytes, Advice::LinuxHugepage) };
    if let Err(error) = outcome {
        eprintln!("no large pages: {error}");
    }
}
