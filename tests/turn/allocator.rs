//! Counts allocations by thread, so that a test can tell what the server's threads allocate from
//! what its own do.

#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// Threads that are counted; later ones are not.
const MOST: usize = 256;

/// The system's allocator, with a counter for each thread.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counter {
    thread: AtomicU32,
    allocations: AtomicU64,
}

static COUNTERS: [Counter; MOST] = [const {
    Counter {
        thread: AtomicU32::new(0),
        allocations: AtomicU64::new(0),
    }
}; MOST];

static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The thread's place among the counters, once it has one. Has no destructor and is never
    /// made on the heap, so an allocator may use it.
    static PLACE: Cell<Option<usize>> = const { Cell::new(None) };
}

fn count() {
    let place = PLACE.with(|place| {
        place.get().unwrap_or_else(|| {
            let new = NEXT.fetch_add(1, Ordering::Relaxed);
            place.set(Some(new));
            if let Some(counter) = COUNTERS.get(new) {
                // SAFETY: a call without arguments that cannot fail.
                let thread = unsafe { libc::gettid() };
                counter.thread.store(thread as u32, Ordering::Relaxed);
            }
            new
        })
    });
    if let Some(counter) = COUNTERS.get(place) {
        counter.allocations.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: each call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: what was allocated here came from the same allocator.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// Allocations so far of the running threads whose names begin like this.
pub(crate) fn of_threads(name: &str) -> u64 {
    COUNTERS
        .iter()
        .filter(|counter| {
            let thread = counter.thread.load(Ordering::Relaxed);
            let path = format!("/proc/self/task/{thread}/comm");
            thread != 0 && fs::read_to_string(path).is_ok_and(|comm| comm.starts_with(name))
        })
        .map(|counter| counter.allocations.load(Ordering::Relaxed))
        .sum()
}
