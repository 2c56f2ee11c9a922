//! The waits before a connection of less than full packet size is tried at full size.
//!
//! Invariants: the waits double from [`FIRST`] to [`LONGEST`] while full size does not last, and
//! start over once it did, or when the path to the server may have changed.

use std::time::{Duration, Instant};

/// The first wait.
const FIRST: Duration = Duration::from_secs(10);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(600);
/// Full size that lasted this long was real: the path has changed since.
const LASTING: Duration = Duration::from_secs(60);

/// The next wait.
#[derive(Debug)]
pub(super) struct SizeUpgrade {
    next: Duration,
}

impl SizeUpgrade {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// Returns the current wait and doubles the next one.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait
    }

    /// Starts over with the first wait.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// Records that full size, in use since `since`, has ended.
    pub(super) fn ended(&mut self, since: Instant, now: Instant) {
        if now.saturating_duration_since(since) >= LASTING {
            self.reset();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_ten_seconds_to_ten_minutes() {
        let mut size_upgrade = SizeUpgrade::new();
        let waits: Vec<u64> = (0..8).map(|_| size_upgrade.wait().as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600]);
    }

    #[test]
    fn full_size_that_did_not_last_keeps_the_long_wait() {
        let now = Instant::now();
        let mut size_upgrade = SizeUpgrade::new();
        size_upgrade.wait();
        size_upgrade.ended(now, now + Duration::from_secs(59));
        assert_eq!(size_upgrade.wait().as_secs(), 20);
        size_upgrade.ended(now, now + LASTING);
        assert_eq!(size_upgrade.wait().as_secs(), 10);
    }
}
