//! An allocator that counts: how many bytes are allocated, and the most there were at once.

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(feature = "product-allocator")]
use mimalloc::MiMalloc as Beneath;
#[cfg(not(feature = "product-allocator"))]
use std::alloc::System as Beneath;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, or the product's, counted.
pub struct Counting;

/// Forgets the peak; the bytes that are allocated now.
pub fn restart() -> usize {
    let now = NOW.load(Ordering::Relaxed);
    PEAK.store(now, Ordering::Relaxed);
    now
}

/// The most bytes that were allocated at once since [`restart`].
pub fn peak() -> usize {
    PEAK.load(Ordering::Relaxed)
}

fn grew(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::Relaxed) + bytes;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call is passed on to that allocator with the caller's own arguments; counting touches no memory
// of theirs.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: passed on.
        unsafe { Beneath.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { Beneath.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grew(layout.size());
        // SAFETY: passed on.
        unsafe { Beneath.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // Both exist for a moment if the block moves.
        grew(bytes);
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on.
        unsafe { Beneath.realloc(at, layout, bytes) }
    }
}
