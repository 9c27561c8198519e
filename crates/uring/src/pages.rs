//! Memory of whole pages for registered buffers: made once, never moved, freed with the uring.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::BLOCK_BYTES;

/// See the module. The kernel may read and write it at any time between a request and its completion, so nobody holds a
/// reference into it across one: it is reached by pointer, for the length of a copy.
pub(crate) struct Pages {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: the memory belongs to this value alone, whichever thread holds it; there is no sharing through `&Pages`.
unsafe impl Send for Pages {}

impl Pages {
    /// `bytes` zeroed bytes at a block boundary.
    pub(crate) fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes.max(BLOCK_BYTES), BLOCK_BYTES).expect("a few buffers");
        // SAFETY: the layout is not of size zero.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        Self { start, layout }
    }

    /// Where `at` lies.
    pub(crate) fn at(&self, at: usize) -> *mut u8 {
        assert!(at < self.layout.size(), "inside the buffers");
        self.start.as_ptr().wrapping_add(at)
    }

    /// Copies bytes in. The caller sees to it that no request reads there.
    pub(crate) fn fill(&mut self, at: usize, bytes: &[u8]) {
        assert!(bytes.len() <= self.layout.size() - at, "inside the buffers");
        // SAFETY: the range lies inside the allocation (asserted), and `bytes` cannot overlap it: nobody outside has a
        // reference into it.
        unsafe { self.at(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: allocated with this very layout, freed once. No request uses it: every call settles its requests before
        // it returns, and the kernel holds pages that it pinned until it is done with them.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}
