//! The per-session limit: packets per second with a burst, one bucket for each direction.
//!
//! The bucket is the generic cell rate algorithm (ITU-T I.371) on the worker's own clock: one comparison
//! and one addition per packet, no allocation, no lock. It counts inner packets, never fragments of them.

use std::time::{Duration, Instant};

/// How many inner packets a session may move in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Packets per second; 0 switches the limit off.
    pub pps: u32,
    /// Packets that may come at once after silence; at least 1 where `pps` is not 0.
    pub burst: u32,
}

impl SessionLimits {
    /// No limit at all.
    pub const OFF: Self = Self { pps: 0, burst: 0 };
}

/// One direction's bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Time one packet costs; zero where there is no limit.
    cost: Duration,
    /// How far the theoretical arrival time may run ahead of the clock.
    tolerance: Duration,
    /// When the bucket will be full again.
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn new(limits: SessionLimits, now: Instant) -> Self {
        let cost = match limits.pps {
            0 => Duration::ZERO,
            pps => Duration::from_secs(1) / pps,
        };
        Self {
            cost,
            tolerance: cost * limits.burst.max(1),
            full_at: now,
        }
    }

    /// Whether one more packet may pass now; takes its cost if so.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if self.cost.is_zero() {
            return true;
        }
        let from = self.full_at.max(now);
        if from + self.cost > now + self.tolerance {
            return false;
        }
        self.full_at = from + self.cost;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_burst_passes_at_once_and_then_one_packet_per_interval() {
        let start = Instant::now();
        let mut bucket = Bucket::new(SessionLimits { pps: 10, burst: 5 }, start);
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 5);
        let later = start + Duration::from_millis(100);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 1);
        let much_later = start + Duration::from_secs(60);
        assert_eq!((0..20).filter(|_| bucket.take(much_later)).count(), 5);
    }

    #[test]
    fn no_limit_means_every_packet_passes() {
        let now = Instant::now();
        let mut bucket = Bucket::new(SessionLimits::OFF, now);
        assert!((0..100_000).all(|_| bucket.take(now)));
    }

    #[test]
    fn over_a_second_the_rate_is_what_was_asked_for() {
        let start = Instant::now();
        let mut bucket = Bucket::new(
            SessionLimits {
                pps: 1000,
                burst: 1,
            },
            start,
        );
        let passed = (0..10_000u32)
            .filter(|i| bucket.take(start + Duration::from_micros(100) * *i))
            .count();
        assert!((999..=1001).contains(&passed), "{passed}");
    }
}
