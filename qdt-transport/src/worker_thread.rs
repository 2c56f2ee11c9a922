//! What a packet worker asks of the system for its thread and its memory.
//!
//! What always holds: nothing here is needed. Where the system refuses, the worker runs as it would
//! have anyway.

/// How much sooner than others a worker gets a processor (setpriority(2)). A program that fills the
/// tunnel shares the processor with the worker that empties it; at the same weight each wakes up in
/// the middle of the other's turn.
const NICENESS: i32 = -5;

/// Called by a worker's thread before its first turn.
pub(crate) fn begin() {
    prefer();
    keep_memory();
}

/// Raises the thread's weight, where it may (`CAP_SYS_NICE`) and where nobody has chosen another
/// one.
fn prefer() {
    // Of a thread and not of its process: Linux keeps a niceness for each (setpriority(2), "C
    // library/kernel differences").
    let this = None;
    if rustix::process::getpriority_process(this) == Ok(0) {
        let _ = rustix::process::setpriority_process(this, NICENESS);
    }
}

/// Keeps the allocator from giving memory back and asking for it again with every round trip. QUIC
/// remembers each packet in flight, some hundred bytes of each: with its usual threshold of 128 KiB
/// the allocator returns that at every acknowledgement of a fast flow, and the kernel clears the
/// same pages for it again.
fn keep_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes two numbers and the allocator's own locks.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 4 << 20);
        libc::mallopt(libc::M_TOP_PAD, 512 << 10);
        // Setting one of these ends the adaption of this one, which is what large buffers that come
        // and go need.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
    }
}

/// Bytes that [`make_room`] makes ready: below the size from which on a block gets a mapping of its
/// own, and enough that each huge page lies in it as a whole before it is used in part.
#[cfg(target_env = "gnu")]
const ROOM: usize = 7 << 19;
/// The size of a huge page where it is smallest, and a multiple of every other page's.
#[cfg(target_env = "gnu")]
const HUGE_PAGE: usize = 2 << 20;
/// Newcomers before more is made ready; they take some 30 KiB each.
pub(crate) const NEWCOMERS_PER_ROOM: u32 = 32;

/// Makes memory ready for the next newcomers at once. The heap of a thread other than the first
/// otherwise grows by a system call for each page, and by an exception for each that is touched. In
/// huge pages, where the system gives them: what belongs to ten thousand idle clients is in no
/// cache when one of them is heard, nor is where to find it.
pub(crate) fn make_room() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the block is this function's own, and what is filled lies within it.
    unsafe {
        let block = libc::malloc(ROOM);
        if block.is_null() {
            return;
        }
        let start = block.map_addr(|at| at.next_multiple_of(HUGE_PAGE));
        let room = ROOM - (start.addr() - block.addr());
        let len = room - room % HUGE_PAGE;
        fill(start, len);
        // At the end of the heap this stays part of it, below the threshold of `keep_memory`.
        libc::free(block);
    }
}

/// Has the system make the pages of a block, huge ones where it gives them.
///
/// # Safety
/// The block is the caller's own, and nothing of it is in use.
#[cfg(target_env = "gnu")]
unsafe fn fill(start: *mut libc::c_void, len: usize) {
    // SAFETY: advice about pages of the caller's, which changes nothing in them. Systems without
    // huge pages and kernels before 5.14 refuse; nothing depends on it.
    unsafe {
        libc::madvise(start, len, libc::MADV_HUGEPAGE);
        libc::madvise(start, len, libc::MADV_POPULATE_WRITE);
        // What is huge stays so; but what is given back later would be filled up again by
        // khugepaged, which collapses a huge page's place as soon as one small page in it is used.
        libc::madvise(start, len, libc::MADV_NOHUGEPAGE);
    }
}

/// Returns to the system what the allocator keeps of freed memory: after a crowd has left that is
/// most of it, scattered between what still lives, where the allocator alone would keep it for
/// ever.
pub(crate) fn give_free_memory_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a call without preconditions (malloc_trim(3)); it takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// The flags of the mapping that an address is in (proc_pid_smaps(5)).
    fn flags_of(address: usize) -> Vec<String> {
        let mappings = std::fs::read_to_string("/proc/self/smaps").expect("Linux has it");
        let covers = |line: &str| {
            let (from, rest) = line.split_once('-')?;
            let (to, _) = rest.split_once(' ')?;
            let range =
                usize::from_str_radix(from, 16).ok()?..usize::from_str_radix(to, 16).ok()?;
            range.contains(&address).then_some(())
        };
        mappings
            .lines()
            .skip_while(|line| covers(line).is_none())
            .find_map(|line| line.strip_prefix("VmFlags:"))
            .expect("every mapping has flags")
            .split_whitespace()
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_system_is_not_asked_to_fill_up_again_what_was_given_back() {
        let mut block = Vec::<u8>::with_capacity(4 * HUGE_PAGE);
        let start = block
            .as_mut_ptr()
            .map_addr(|at| at.next_multiple_of(HUGE_PAGE));
        // SAFETY: the second and the third huge page of four lie within the block, and nothing of
        // it is in use.
        unsafe { fill(start.cast(), 2 * HUGE_PAGE) };
        let flags = flags_of(start.addr());
        assert!(!flags.iter().any(|flag| flag == "hg"), "{flags:?}");
        let has_huge_pages = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        let is_left_alone = flags.iter().any(|flag| flag == "nh");
        assert_eq!(is_left_alone, has_huge_pages, "{flags:?}");
    }
}
