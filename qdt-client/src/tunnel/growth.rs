//! When a connection of less than full packet size is tried at full size again.
//!
//! What always holds here: the waits double from [`FIRST`] to [`LONGEST`] while full size does not
//! last, and start over when it did, or when the way to the server may be another one.

use std::time::{Duration, Instant};

/// The first wait.
const FIRST: Duration = Duration::from_secs(10);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(600);
/// Full size that lasted this long was true: what ended it is a new fact about the path.
const LASTING: Duration = Duration::from_secs(60);

/// The next wait.
#[derive(Debug)]
pub(super) struct Growth {
    next: Duration,
}

impl Growth {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// How long to wait now; the wait after it is twice as long.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (wait * 2).min(LONGEST);
        wait
    }

    /// The way to the server may be another one.
    pub(super) fn start_over(&mut self) {
        self.next = FIRST;
    }

    /// Full size has ended that began at `since`.
    pub(super) fn ended(&mut self, since: Instant, now: Instant) {
        if now.saturating_duration_since(since) >= LASTING {
            self.start_over();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_ten_seconds_to_ten_minutes() {
        let mut growth = Growth::new();
        let waits: Vec<u64> = (0..8).map(|_| growth.wait().as_secs()).collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 600, 600]);
    }

    #[test]
    fn full_size_that_did_not_last_keeps_the_long_wait() {
        let now = Instant::now();
        let mut growth = Growth::new();
        growth.wait();
        growth.ended(now, now + Duration::from_secs(59));
        assert_eq!(growth.wait().as_secs(), 20);
        growth.ended(now, now + LASTING);
        assert_eq!(growth.wait().as_secs(), 10);
    }
}
