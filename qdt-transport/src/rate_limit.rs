//! Rate limits of a session: packets per second with a burst, in each direction and for everything
//! else that a client sends.
//!
//! A bucket is the generic cell rate algorithm (ITU-T I.371): one comparison and one addition per
//! packet, no allocation, no lock. An inner packet costs one, in any number of fragments. Pings,
//! fragments and malformed datagrams have a bucket of their own of the same size, so that neither
//! kind displaces the other: a ping or a malformed datagram costs one, a fragment a quarter, or
//! less where the `mtu` is so large that a valid packet has more than four.
//!
//! Invariants: the state of a bucket outlives the session in its [`SessionUsage`]; one worker at a
//! time charges it. While a session moves to another worker two may, and a charge may be lost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::clock;

/// The fragments of a valid packet in a session of at most 3 KiB `mtu`, with a margin: a path
/// carries more than 1 KiB of one.
const FRAGMENTS_PER_PACKET: u64 = 4;

/// The zero of the buckets' nanoseconds.
static EPOCH: LazyLock<Instant> = LazyLock::new(clock::now);

/// The rate limit of a session in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Packets per second; 0 means no limit.
    pub pps: u32,
    /// Packets in a burst; at least 1 unless `pps` is 0.
    pub burst: u32,
}

impl SessionLimits {
    /// No limit.
    pub const OFF: Self = Self { pps: 0, burst: 0 };
}

/// The state of a session's buckets. Clones share it: a session that continues another one, under
/// the same address, starts with the rest of its burst.
#[derive(Clone, Debug, Default)]
pub struct SessionUsage(Arc<FullAt>);

/// When each bucket will be full again, in nanoseconds since [`EPOCH`]. Aligned, so that sessions
/// of two workers share no cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct FullAt([AtomicU64; 3]);

/// The traffic that a bucket limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Inner packets from the client.
    FromClient,
    /// Inner packets to the client.
    ToClient,
    /// Traffic of the client other than whole packets.
    Upkeep,
}

/// One bucket of a session.
#[derive(Debug)]
pub(crate) struct Bucket {
    usage: SessionUsage,
    counted: Counted,
    epoch: Instant,
    /// Nanoseconds per packet; 0 means no limit.
    cost: u64,
    /// Nanoseconds per fragment.
    fragment_cost: u64,
    /// The most by which the theoretical arrival time may exceed the clock, in nanoseconds.
    tolerance: u64,
}

impl Bucket {
    /// Returns a bucket in the state of `usage`, for a session whose packets have at most `mtu`
    /// bytes.
    pub(crate) fn new(
        limits: SessionLimits,
        mtu: u16,
        usage: &SessionUsage,
        counted: Counted,
    ) -> Self {
        let fragments = FRAGMENTS_PER_PACKET.max(u64::from(mtu) / 1024 + 1);
        let cost = match limits.pps {
            0 => 0,
            pps => nanos(Duration::from_secs(1) / pps),
        };
        Self {
            usage: usage.clone(),
            counted,
            epoch: *EPOCH,
            cost,
            fragment_cost: cost / fragments,
            tolerance: cost * u64::from(limits.burst.max(1)),
        }
    }

    /// Applies other limits from `now` on. The debt of a longer burst or a lower rate counts as the
    /// whole new burst at most.
    pub(crate) fn change(&mut self, now: Instant, limits: SessionLimits, mtu: u16) {
        *self = Self::new(limits, mtu, &self.usage, self.counted);
        let empty = nanos(now.saturating_duration_since(self.epoch)) + self.tolerance;
        self.full_at().fetch_min(empty, Ordering::Relaxed);
    }

    fn full_at(&self) -> &AtomicU64 {
        &self.usage.0.0[self.counted as usize]
    }

    /// Returns whether there is no limit.
    pub(crate) fn is_off(&self) -> bool {
        self.cost == 0
    }

    /// Returns whether one more packet may pass now, and charges it if so.
    pub(crate) fn take(&self, now: Instant) -> bool {
        self.charge(now, self.cost)
    }

    /// Returns whether one more fragment may pass now, and charges it if so.
    pub(crate) fn take_fragment(&self, now: Instant) -> bool {
        self.charge(now, self.fragment_cost)
    }

    fn charge(&self, now: Instant, cost: u64) -> bool {
        if self.is_off() {
            return true;
        }
        let now = nanos(now.saturating_duration_since(self.epoch));
        let full_at = self.full_at();
        let from = full_at.load(Ordering::Relaxed).max(now);
        if from + cost > now + self.tolerance {
            return false;
        }
        full_at.store(from + cost, Ordering::Relaxed);
        true
    }
}

/// Returns whole nanoseconds, which fit for 584 years.
fn nanos(span: Duration) -> u64 {
    span.as_secs() * 1_000_000_000 + u64::from(span.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(pps: u32, burst: u32) -> Bucket {
        let limits = SessionLimits { pps, burst };
        Bucket::new(limits, 1350, &SessionUsage::default(), Counted::FromClient)
    }

    #[test]
    fn a_full_burst_passes_at_once_and_then_one_packet_per_interval() {
        let bucket = bucket(10, 5);
        let start = Instant::now();
        assert_eq!((0..20).filter(|_| bucket.take(start)).count(), 5);
        let later = start + Duration::from_millis(100);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 1);
        let much_later = start + Duration::from_secs(60);
        assert_eq!((0..20).filter(|_| bucket.take(much_later)).count(), 5);
    }

    #[test]
    fn no_limit_means_every_packet_passes() {
        let now = Instant::now();
        let bucket = bucket(0, 0);
        assert!((0..100_000).all(|_| bucket.take(now) && bucket.take_fragment(now)));
    }

    #[test]
    fn over_a_second_the_rate_is_the_configured_one() {
        let bucket = bucket(1000, 1);
        let start = Instant::now();
        let passed = (0..10_000u32)
            .filter(|i| bucket.take(start + Duration::from_micros(100) * *i))
            .count();
        assert!((999..=1001).contains(&passed), "{passed}");
    }

    #[test]
    fn the_fragments_of_a_valid_packet_cost_no_more_than_one_packet() {
        let now = Instant::now();
        let bucket = bucket(1, 10);
        let passed = (0..1000).filter(|_| bucket.take_fragment(now)).count();
        assert_eq!(passed as u64, 10 * FRAGMENTS_PER_PACKET);
        assert!(!bucket.take(now));
        let limits = SessionLimits { pps: 1, burst: 10 };
        let jumbo = Bucket::new(limits, 9000, &SessionUsage::default(), Counted::Upkeep);
        assert_eq!((0..1000).filter(|_| jumbo.take_fragment(now)).count(), 90);
    }

    #[test]
    fn a_session_that_continues_another_starts_with_the_rest_of_its_burst() {
        let limits = SessionLimits { pps: 10, burst: 50 };
        let usage = SessionUsage::default();
        let first = Bucket::new(limits, 1350, &usage, Counted::FromClient);
        let start = Instant::now();
        assert_eq!((0..100).filter(|_| first.take(start)).count(), 50);
        drop(first);
        let next = Bucket::new(limits, 1350, &usage, Counted::FromClient);
        let later = start + Duration::from_secs(2);
        assert_eq!((0..100).filter(|_| next.take(later)).count(), 20);
        let other = Bucket::new(limits, 1350, &usage, Counted::ToClient);
        assert_eq!(
            (0..100).filter(|_| other.take(later)).count(),
            50,
            "another bucket"
        );
    }

    #[test]
    fn changed_limits_keep_the_debt_up_to_the_new_burst() {
        let mut bucket = bucket(1, 1000);
        let start = Instant::now();
        assert_eq!((0..2000).filter(|_| bucket.take(start)).count(), 1000);
        bucket.change(start, SessionLimits { pps: 10, burst: 5 }, 1350);
        assert!(!bucket.take(start), "the new burst is used up");
        let later = start + Duration::from_millis(100);
        assert_eq!((0..20).filter(|_| bucket.take(later)).count(), 1);
        bucket.change(later, SessionLimits::OFF, 1350);
        assert!((0..10_000).all(|_| bucket.take(later)));
        bucket.change(later, SessionLimits { pps: 10, burst: 5 }, 1350);
        assert!((0..20).filter(|_| bucket.take(later)).count() <= 5);
    }

    #[test]
    fn the_largest_burst_of_the_lowest_rate_does_not_overflow() {
        let bucket = bucket(1, u32::MAX);
        let now = Instant::now() + Duration::from_secs(10 * 365 * 24 * 3600);
        assert!((0..1000).all(|_| bucket.take(now)));
    }
}
