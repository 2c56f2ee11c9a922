//! The deadlines of all connections: a heap that is corrected lazily.
//!
//! A connection's deadline moves with nearly every packet, mostly to later. So the heap has an
//! entry at or before the true deadline; when it comes up, the engine compares and pushes the true
//! one. Stale entries stay until they are due or too many.
//!
//! Deadlines that are far off (idle timeouts) are rounded up to a few instants per second, so that
//! thousands of idle connections cost a few turns instead of one each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use quinn_proto::ConnectionHandle;

use super::Link;

/// The heap is never pruned below this many entries.
const STALE_MIN: usize = 256;
/// Entries per connection above which it is pruned, so that many pushes pay for each pass.
const STALE_RATIO: usize = 8;

/// Deadlines further off than this are rounded up.
const FAR: Duration = Duration::from_secs(2);
/// The distance between the instants that they are rounded to.
const GRID: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Deadlines {
    /// The start of the grid.
    origin: Instant,
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Deadlines {
    /// Returns an empty heap with a grid from `now`. Its capacity suffices for a few connections
    /// without another allocation.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            heap: BinaryHeap::with_capacity(2 * STALE_MIN),
        }
    }

    fn push(&mut self, at: Instant, handle: ConnectionHandle) {
        self.heap.push(Reverse((at, handle.0)));
    }

    /// Pushes the connection's next deadline unless an earlier entry exists, which leads to it.
    pub(super) fn keep<C>(&mut self, link: &mut Link<C>, now: Instant) {
        if let Some(next) = link.next_deadline(now) {
            let at = self.round_up(next, now);
            if link.scheduled.is_none_or(|scheduled| at < scheduled) {
                link.scheduled = Some(at);
                self.push(at, link.handle);
            }
        }
    }

    /// Returns the instant at which a deadline `at` is due.
    fn round_up(&self, at: Instant, now: Instant) -> Instant {
        if at <= now + FAR {
            return at;
        }
        let steps = at
            .saturating_duration_since(self.origin)
            .as_nanos()
            .div_ceil(GRID.as_nanos());
        // Beyond 32 bits (34 years) nothing is rounded.
        u32::try_from(steps).map_or(at, |steps| self.origin + GRID * steps)
    }

    /// Removes the entries that `is_live` rejects, once there are many more than `connections`.
    pub(super) fn prune(
        &mut self,
        connections: usize,
        is_live: impl Fn(Instant, ConnectionHandle) -> bool,
    ) {
        if self.heap.len() > STALE_MIN + STALE_RATIO * connections {
            self.heap
                .retain(|Reverse((at, handle))| is_live(*at, ConnectionHandle(*handle)));
        }
    }

    /// Returns the earliest entry.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Removes and returns one due entry. It is stale unless its connection is still scheduled for
    /// exactly this instant: an earlier entry may have replaced it, or another connection may have
    /// its handle.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnectionHandle)> {
        if self.next()? > now {
            return None;
        }
        self.heap
            .pop()
            .map(|Reverse((at, handle))| (at, ConnectionHandle(handle)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn entries_are_popped_in_order_once_they_are_due() {
        let now = Instant::now();
        let mut deadlines = Deadlines::new(Instant::now());
        for (millis, handle) in [(30, 3), (10, 1), (20, 2)] {
            deadlines.push(
                now + Duration::from_millis(millis),
                ConnectionHandle(handle),
            );
        }
        assert_eq!(deadlines.pop_due(now), None);
        let later = now + Duration::from_millis(20);
        let due: Vec<_> = std::iter::from_fn(|| deadlines.pop_due(later)).collect();
        assert_eq!(
            due.iter().map(|(_, handle)| handle.0).collect::<Vec<_>>(),
            [1, 2]
        );
        assert_eq!(deadlines.next(), Some(now + Duration::from_millis(30)));
    }

    #[test]
    fn far_deadlines_are_rounded_up_to_four_instants_a_second() {
        let deadlines = Deadlines::new(Instant::now());
        let now = deadlines.origin + Duration::from_secs(1000);
        let mut instants = std::collections::BTreeSet::new();
        for millis in 0..1000 {
            let at = now + Duration::from_secs(30) + Duration::from_millis(millis);
            let instant = deadlines.round_up(at, now);
            assert!(instant >= at && instant < at + GRID, "{millis} ms");
            instants.insert(instant);
        }
        assert_eq!(instants.len(), 5, "four a second, both ends included");
    }

    #[test]
    fn near_deadlines_are_not_rounded() {
        let deadlines = Deadlines::new(Instant::now());
        let now = deadlines.origin + Duration::from_secs(1000);
        for millis in [0, 1, 25, 333, 1999] {
            let at = now + Duration::from_millis(millis);
            assert_eq!(deadlines.round_up(at, now), at);
        }
    }

    #[test]
    fn stale_entries_do_not_pile_up() {
        let now = Instant::now();
        let at = |n: u32| now + Duration::from_secs(30) + Duration::from_millis(1) * n;
        let mut deadlines = Deadlines::new(Instant::now());
        for n in 0..100_000 {
            deadlines.push(at(n), ConnectionHandle(0));
            deadlines.prune(1, |entry, _| entry == at(n));
            assert!(deadlines.heap.len() <= STALE_MIN + STALE_RATIO);
        }
        assert_eq!(
            deadlines
                .heap
                .iter()
                .filter(|Reverse((entry, _))| *entry == at(99_999))
                .count(),
            1
        );
    }
}
