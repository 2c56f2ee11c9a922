//! An allocator that notes from where memory is asked for, while it is told to.
//!
//! What always holds: nothing is noted of the thread that started it, which is the test's, nor of
//! what noting itself allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Return addresses, the innermost first; zeros behind the last.
pub(crate) type Stack = [usize; 40];

static NOTING: AtomicBool = AtomicBool::new(false);
static NOTED: Mutex<Option<HashMap<Stack, u64>>> = Mutex::new(None);

thread_local! {
    /// This thread is the test's, or is noting something at this moment.
    static EXEMPT: Cell<bool> = const { Cell::new(false) };
}

/// From now on what other threads ask for is noted.
pub(crate) fn start() {
    EXEMPT.set(true);
    *NOTED.lock().expect("nobody panics with it") = Some(HashMap::new());
    NOTING.store(true, Ordering::SeqCst);
}

/// Ends that: how often memory was asked for, by the stack of whoever did.
pub(crate) fn stop() -> HashMap<Stack, u64> {
    NOTING.store(false, Ordering::SeqCst);
    let noted = NOTED.lock().expect("nobody panics with it").take();
    noted.expect("it was started")
}

/// The system's allocator, which notes.
struct Noting;

// SAFETY: every call goes on to the system's allocator with its arguments unchanged; noting
// allocates only while this thread is exempt from being noted, so it does not come back here for
// ever.
unsafe impl GlobalAlloc for Noting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's promise about `layout` is handed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's promises are handed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise about `pointer` and `layout` is handed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Noting = Noting;

fn note() {
    if !NOTING.load(Ordering::Relaxed) || EXEMPT.replace(true) {
        return;
    }
    let mut stack: Stack = [0; _];
    let mut depth = 0;
    backtrace::trace(|frame| {
        stack[depth] = frame.ip() as usize;
        depth += 1;
        depth < stack.len()
    });
    if let Ok(mut noted) = NOTED.lock()
        && let Some(noted) = noted.as_mut()
    {
        *noted.entry(stack).or_default() += 1;
    }
    EXEMPT.set(false);
}
