//! An allocator that records the stacks of allocations.
//!
//! Invariant: it records neither the test's own thread nor its own allocations.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Return addresses, innermost first, padded with zeros.
pub(crate) type Stack = [usize; 40];

static RECORDING: AtomicBool = AtomicBool::new(false);
static RECORDED: Mutex<Option<HashMap<Stack, u64>>> = Mutex::new(None);

thread_local! {
    /// Whether this thread is the test's, or is recording now.
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

/// Records the allocations of other threads from now on.
pub(crate) fn start() {
    EXEMPT.set(true);
    *RECORDED.lock().expect("no holder panics") = Some(HashMap::new());
    RECORDING.store(true, Ordering::SeqCst);
}

/// Stops recording. Returns the number of allocations by stack.
pub(crate) fn stop() -> HashMap<Stack, u64> {
    RECORDING.store(false, Ordering::SeqCst);
    let recorded = RECORDED.lock().expect("no holder panics").take();
    recorded.expect("it was started")
}

/// The system's allocator with recording.
struct RecordingAllocator;

// SAFETY: every call goes to the system's allocator with unchanged arguments; recording allocates
// only while this thread is exempt, so it does not recurse.
unsafe impl GlobalAlloc for RecordingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        record();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        record();
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        record();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about `pointer` and `layout` is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: RecordingAllocator = RecordingAllocator;

fn record() {
    if !RECORDING.load(Ordering::Relaxed) || EXEMPT.replace(true) {
        return;
    }
    let mut stack: Stack = [0; _];
    let mut depth = 0;
    backtrace::trace(|frame| {
        stack[depth] = frame.ip() as usize;
        depth += 1;
        depth < stack.len()
    });
    if let Ok(mut recorded) = RECORDED.lock()
        && let Some(recorded) = recorded.as_mut()
    {
        *recorded.entry(stack).or_default() += 1;
    }
    EXEMPT.set(false);
}
