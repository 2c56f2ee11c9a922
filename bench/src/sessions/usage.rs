//! What a process uses: processor time to the nanosecond, resident memory to the page.
//!
//! /proc/PID/stat counts in hundredths of a second, which is too coarse for a server that does next
//! to nothing; the process's own clock (clock_getcpuclockid(3)) is not, and threads that ended stay
//! counted in it.

use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Time on a processor, user and system, of all threads that the process has or had.
///
/// # Errors
/// When the process has ended.
pub(super) fn processor_time(pid: u32) -> Result<Duration> {
    let mut clock = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: both calls write one value each, into places that outlive them.
    let read = unsafe {
        libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut time) == 0
    };
    ensure!(
        read,
        "the clock of process {pid}: {}",
        io::Error::last_os_error()
    );
    Ok(Duration::new(
        time.tv_sec.cast_unsigned(),
        u32::try_from(time.tv_nsec).context("a second has 10^9 nanoseconds")?,
    ))
}

/// Resident memory in bytes. Counted page by page: the number in /proc/PID/status may lag behind.
///
/// # Errors
/// When the process has ended.
pub(super) fn resident_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    resident_of(&text).with_context(|| format!("{path} has no line Rss"))
}

fn resident_of(smaps_rollup: &str) -> Option<u64> {
    let line = smaps_rollup
        .lines()
        .find_map(|line| line.strip_prefix("Rss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smaps_rollup_is_parsed() {
        let rollup = "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:     1884 kB\nPss:  5 kB\n";
        assert_eq!(resident_of(rollup), Some(1884 * 1024));
    }

    #[test]
    fn this_process_uses_memory_and_time() {
        let pid = std::process::id();
        let before = processor_time(pid).expect("the clock of this process");
        let memory = vec![7_u8; 64 << 20];
        assert!(memory.iter().all(|byte| *byte == 7));
        assert!(processor_time(pid).expect("the clock of this process") > before);
        assert!(resident_bytes(pid).expect("smaps_rollup") > 64 << 20);
    }
}
