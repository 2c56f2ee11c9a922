//! What one direction of a link does to packets: a bottleneck with a bounded queue in front of it,
//! a delay behind it, random loss and reordering. No clock, no device: time comes in as an
//! argument.
//!
//! Invariants: whether a packet is lost or comes late depends on the seed and on its number
//! alone, so two runs with as many packets lose the same ones; a packet that is not picked out for
//! lateness is never overtaken by another one that is not.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// One direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bits per second through the bottleneck, headers of IP included; none: as fast as it goes.
    pub(crate) rate: Option<u64>,
    /// Bytes that may wait in front of the bottleneck; what comes then is dropped.
    pub(crate) queue: u64,
    /// Time behind the bottleneck.
    pub(crate) delay: Duration,
    /// How many of a thousand packets are lost behind the bottleneck.
    pub(crate) loss_per_mille: u32,
    /// How many of a thousand packets come late.
    pub(crate) late_per_mille: u32,
    /// How late these come.
    pub(crate) late_by: Duration,
}

impl Shape {
    /// Passes everything at once.
    pub(crate) const OPEN: Self = Self {
        rate: None,
        queue: 0,
        delay: Duration::ZERO,
        loss_per_mille: 0,
        late_per_mille: 0,
        late_by: Duration::ZERO,
    };
}

/// What became of a packet that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It will arrive.
    Passes,
    /// Random loss.
    Lost,
    /// The queue in front of the bottleneck was full.
    QueueFull,
}

/// A direction in use; `P` is a packet.
#[derive(Debug)]
pub(crate) struct Path<P> {
    shape: Shape,
    random: StdRng,
    /// When the bottleneck has sent everything that waits.
    free_at: Option<Instant>,
    in_order: VecDeque<(Instant, P)>,
    late: VecDeque<(Instant, P)>,
}

impl<P> Path<P> {
    /// An empty direction.
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            random: StdRng::seed_from_u64(seed),
            free_at: None,
            in_order: VecDeque::new(),
            late: VecDeque::new(),
        }
    }

    /// A packet of `len` bytes comes in.
    pub(crate) fn offer(&mut self, now: Instant, packet: P, len: usize) -> Fate {
        // Both are drawn for every packet, so that its number alone decides.
        let is_lost = self.random.random_range(0..1000) < self.shape.loss_per_mille;
        let is_late = self.random.random_range(0..1000) < self.shape.late_per_mille;
        let mut at = now;
        if let Some(rate) = self.shape.rate {
            let starts = self.free_at.map_or(now, |free_at| free_at.max(now));
            let waiting = (starts - now).as_secs_f64() * rate as f64 / 8.0;
            if waiting > self.shape.queue as f64 {
                return Fate::QueueFull;
            }
            at = starts + Duration::from_nanos(len as u64 * 8_000_000_000 / rate);
            self.free_at = Some(at);
        }
        if is_lost {
            return Fate::Lost;
        }
        at += self.shape.delay;
        if is_late {
            self.late.push_back((at + self.shape.late_by, packet));
        } else {
            self.in_order.push_back((at, packet));
        }
        Fate::Passes
    }

    /// The next packet that has arrived by `now`.
    pub(crate) fn arrived(&mut self, now: Instant) -> Option<P> {
        let (at, is_late) = self.earliest()?;
        if at > now {
            return None;
        }
        let queue = if is_late {
            &mut self.late
        } else {
            &mut self.in_order
        };
        queue.pop_front().map(|(_, packet)| packet)
    }

    /// When the next packet arrives.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.earliest().map(|(at, _)| at)
    }

    /// Its time, and whether it is a late one.
    fn earliest(&self) -> Option<(Instant, bool)> {
        let front =
            |queue: &VecDeque<(Instant, P)>, is_late| queue.front().map(|(at, _)| (*at, is_late));
        front(&self.in_order, false)
            .into_iter()
            .chain(front(&self.late, true))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Shape = Shape::OPEN;

    fn fates(shape: Shape, seed: u64, count: u32) -> Vec<Fate> {
        let now = Instant::now();
        let mut path = Path::new(shape, seed);
        (0..count).map(|n| path.offer(now, n, 1000)).collect()
    }

    #[test]
    fn the_same_seed_loses_the_same_packets_and_as_many_as_it_should() {
        let shape = Shape {
            loss_per_mille: 10,
            ..OPEN
        };
        let first = fates(shape, 7, 100_000);
        assert_eq!(first, fates(shape, 7, 100_000));
        assert_ne!(first, fates(shape, 8, 100_000));
        let lost = first.iter().filter(|fate| **fate == Fate::Lost).count();
        assert!((900..1100).contains(&lost), "{lost} of 100,000 at 1 %");
    }

    #[test]
    fn the_bottleneck_drops_what_its_queue_cannot_hold_and_sends_the_rest_at_its_rate() {
        let shape = Shape {
            rate: Some(8_000_000),
            queue: 50_000,
            delay: Duration::from_millis(10),
            ..OPEN
        };
        let now = Instant::now();
        let mut path = Path::new(shape, 1);
        let passed = (0..100)
            .filter(|n| path.offer(now, *n, 1000) == Fate::Passes)
            .count();
        assert_eq!(passed, 51, "50,000 bytes wait and one packet is being sent");
        for n in 0..51 {
            let due = now + Duration::from_millis(11 + n);
            assert_eq!(path.next_arrival(), Some(due));
            assert_eq!(path.arrived(due - Duration::from_nanos(1)), None);
            assert_eq!(path.arrived(due), Some(n as u32));
        }
        assert_eq!(path.next_arrival(), None);
    }

    #[test]
    fn a_late_packet_is_overtaken_and_no_other_is() {
        let shape = Shape {
            late_per_mille: 100,
            late_by: Duration::from_millis(2),
            delay: Duration::from_millis(10),
            ..OPEN
        };
        let start = Instant::now();
        let mut path = Path::new(shape, 3);
        let step = Duration::from_micros(100);
        for n in 0..1000u32 {
            assert_eq!(path.offer(start + n * step, n, 1000), Fate::Passes);
        }
        let mut arrivals: Vec<(u32, Duration)> = Vec::new();
        while let Some(at) = path.next_arrival() {
            let n = path.arrived(at).expect("it is due");
            arrivals.push((n, at - (start + n * step)));
        }
        assert_eq!(arrivals.len(), 1000);
        let is_late = |took: Duration| took == Duration::from_millis(12);
        let late = arrivals.iter().filter(|(_, took)| is_late(*took)).count();
        assert!((70..130).contains(&late), "{late} of 1000 at 10 %");
        let rest: Vec<u32> = arrivals
            .iter()
            .filter(|(_, took)| !is_late(*took))
            .map(|(n, _)| *n)
            .collect();
        assert!(rest.is_sorted());
        assert!(!arrivals.iter().map(|(n, _)| *n).is_sorted());
    }
}
