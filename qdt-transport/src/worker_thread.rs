//! Scheduling and memory settings of a packet worker's thread.
//!
//! Invariant: all of them are optional; a worker runs without those that the system refuses.

/// The worker's niceness (setpriority(2)). A program that fills the tunnel shares the processor
/// with the worker that empties it; at equal weight each wakes in the middle of the other's turn.
const NICENESS: i32 = -5;

/// Configures the calling thread, before a worker's first turn.
pub(crate) fn configure_thread() {
    raise_priority();
    tune_allocator();
}

/// Raises the thread's priority where permitted (`CAP_SYS_NICE`) and not already set.
fn raise_priority() {
    // Linux keeps a niceness per thread (setpriority(2), "C library/kernel differences").
    let this = None;
    if rustix::process::getpriority_process(this) == Ok(0) {
        let _ = rustix::process::setpriority_process(this, NICENESS);
    }
}

/// Keeps the allocator from returning memory and requesting it again with every round trip. QUIC
/// remembers some hundred bytes of each packet in flight: with its default threshold of 128 KiB the
/// allocator returns them at every acknowledgement of a fast flow, and the kernel clears the same
/// pages again.
fn tune_allocator() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt(3) takes two numbers and the allocator's own locks.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 4 << 20);
        libc::mallopt(libc::M_TOP_PAD, 512 << 10);
        // Setting the others disables the dynamic adjustment of this one, which large short-lived
        // buffers need.
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
    }
}

/// Bytes that [`prefault_heap`] prefaults: below the size of blocks with a mapping of their own,
/// and enough that each huge page lies in the block as a whole before a part of it is used.
#[cfg(target_env = "gnu")]
const PREFAULT_BYTES: usize = 7 << 19;
/// The smallest huge page, and a multiple of every other page size.
#[cfg(target_env = "gnu")]
const HUGE_PAGE: usize = 2 << 20;
/// Handshakes between two calls of [`prefault_heap`]; each takes some 30 KiB.
pub(crate) const HANDSHAKES_PER_PREFAULT: u32 = 32;

/// Prefaults heap memory for the next connections. Otherwise the heap of a thread other than the
/// first grows by a system call per page and a page fault per touched page. Huge pages where
/// available: the state of ten thousand idle clients is in no cache when one of them sends, nor are
/// its page table entries.
pub(crate) fn prefault_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: the block belongs to this function, and the populated part lies within it.
    unsafe {
        let block = libc::malloc(PREFAULT_BYTES);
        if block.is_null() {
            return;
        }
        let start = block.map_addr(|at| at.next_multiple_of(HUGE_PAGE));
        let room = PREFAULT_BYTES - (start.addr() - block.addr());
        let len = room - room % HUGE_PAGE;
        populate(start, len);
        // At the end of the heap this stays part of it, below the threshold of `tune_allocator`.
        libc::free(block);
    }
}

/// Populates the pages of a block, with huge ones where available.
///
/// # Safety
/// The block belongs to the caller and is not in use.
#[cfg(target_env = "gnu")]
unsafe fn populate(start: *mut libc::c_void, len: usize) {
    // SAFETY: advice about the caller's pages, which changes nothing in them. Systems without huge
    // pages and kernels before 5.14 refuse; nothing depends on it.
    unsafe {
        libc::madvise(start, len, libc::MADV_HUGEPAGE);
        libc::madvise(start, len, libc::MADV_POPULATE_WRITE);
        // Huge pages stay huge, but khugepaged must not refill memory that is returned later: it
        // collapses a huge page as soon as one small page in it is used.
        libc::madvise(start, len, libc::MADV_NOHUGEPAGE);
    }
}

/// Returns free heap memory to the system. After a connection burst most of it lies between live
/// blocks, where the allocator alone would keep it forever.
pub(crate) fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: a call without preconditions (malloc_trim(3)); it takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// Returns the flags of the mapping of an address (proc_pid_smaps(5)).
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
    fn returned_memory_is_not_refilled_with_huge_pages() {
        let mut block = Vec::<u8>::with_capacity(4 * HUGE_PAGE);
        let start = block
            .as_mut_ptr()
            .map_addr(|at| at.next_multiple_of(HUGE_PAGE));
        // SAFETY: the second and third huge page of four lie within the unused block.
        unsafe { populate(start.cast(), 2 * HUGE_PAGE) };
        let flags = flags_of(start.addr());
        assert!(!flags.iter().any(|flag| flag == "hg"), "{flags:?}");
        let has_huge_pages = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
        let is_left_alone = flags.iter().any(|flag| flag == "nh");
        assert_eq!(is_left_alone, has_huge_pages, "{flags:?}");
    }
}
