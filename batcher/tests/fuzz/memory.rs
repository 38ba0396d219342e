//! Memory as the decoder takes it: an allocator that counts, each thread for itself, so that tests side
//! by side do not see each other.

#![allow(unsafe_code, reason = "an allocator is unsafe to write; this one only counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
#[derive(Debug)]
pub(crate) struct Counting;

/// What a piece of work took.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    /// Most bytes held at once, beyond what was held before.
    pub(crate) peak_bytes: usize,
    pub(crate) allocations: u64,
}

fn took(bytes: usize) {
    HELD.set(HELD.get() + bytes.cast_signed());
    PEAK.set(PEAK.get().max(HELD.get()));
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

fn gave(bytes: usize) {
    HELD.set(HELD.get() - bytes.cast_signed());
}

/// Does the work and says what it took on this thread.
pub(crate) fn measured<T>(work: impl FnOnce() -> T) -> (T, Taken) {
    let (held, allocations) = (HELD.get(), ALLOCATIONS.get());
    PEAK.set(held);
    let done = work();
    let peak_bytes = (PEAK.get() - held).unsigned_abs();
    (done, Taken { peak_bytes, allocations: ALLOCATIONS.get() - allocations })
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: what the caller promises is what is asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        gave(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // Old and new at once: so it is where the allocator has to move them.
        took(bytes);
        gave(layout.size());
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}
