//! When which connection needs to be looked at: a heap that is corrected late.
//!
//! A connection's deadline moves with nearly every packet, mostly to later. So the heap keeps an
//! entry that is at or before the true deadline; when it comes up, the engine compares and pushes
//! the true one again. Entries that nobody waits for any more stay until they are due, or until
//! there are too many of them.
//!
//! What is far off (the end of a silent connection) need not be met to the millisecond: such
//! entries are moved later to one of a few moments a second, so that thousands of idle connections
//! are looked at in a few turns and not in one each.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use quinn_proto::ConnectionHandle;

use super::Link;

/// Entries that are never worth a pass over all of them.
const STALE_MIN: usize = 256;
/// Entries per connection from which on there is one: each pass is paid for by as many pushes.
const STALE_RATIO: usize = 8;

/// What is further off than this is far.
const FAR: Duration = Duration::from_secs(2);
/// The distance between the moments at which far entries are due.
const GRID: Duration = Duration::from_millis(250);

/// See the module.
#[derive(Debug)]
pub(super) struct Deadlines {
    /// The grid begins here.
    origin: Instant,
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Deadlines {
    /// Returns an empty heap whose grid begins `now`, with room for all the entries that a few
    /// connections ever have: it does not grow while packets pass.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            origin: now,
            heap: BinaryHeap::with_capacity(2 * STALE_MIN),
        }
    }

    fn push(&mut self, at: Instant, handle: ConnectionHandle) {
        self.heap.push(Reverse((at, handle.0)));
    }

    /// Sees to it that a connection is looked at when it has to be. A deadline that has moved later
    /// is found when its earlier entry comes up.
    pub(super) fn keep<C>(&mut self, link: &mut Link<C>, now: Instant) {
        if let Some(next) = link.next_deadline(now) {
            let at = self.moment(next, now);
            if link.scheduled.is_none_or(|scheduled| at < scheduled) {
                link.scheduled = Some(at);
                self.push(at, link.handle);
            }
        }
    }

    /// When something is looked at that has to be done at `at`.
    fn moment(&self, at: Instant, now: Instant) -> Instant {
        if at <= now + FAR {
            return at;
        }
        let steps = at
            .saturating_duration_since(self.origin)
            .as_nanos()
            .div_ceil(GRID.as_nanos());
        // Beyond what 32 bits count (34 years) nothing is gathered any more.
        u32::try_from(steps).map_or(at, |steps| self.origin + GRID * steps)
    }

    /// Removes the entries that `waits` does not know, once there are many more than the
    /// `connections`.
    pub(super) fn prune(
        &mut self,
        connections: usize,
        waits: impl Fn(Instant, ConnectionHandle) -> bool,
    ) {
        if self.heap.len() > STALE_MIN + STALE_RATIO * connections {
            self.heap
                .retain(|Reverse((at, handle))| waits(*at, ConnectionHandle(*handle)));
        }
    }

    /// The earliest entry.
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Removes and returns one entry that is due. It counts only if its connection still waits for
    /// exactly this time: an earlier entry may have taken its place, or another connection its
    /// handle.
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
    fn what_is_due_comes_out_in_order_and_nothing_earlier() {
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
    fn what_is_far_off_is_due_a_little_later_and_with_others() {
        let deadlines = Deadlines::new(Instant::now());
        let now = deadlines.origin + Duration::from_secs(1000);
        let mut moments = std::collections::BTreeSet::new();
        for millis in 0..1000 {
            let at = now + Duration::from_secs(30) + Duration::from_millis(millis);
            let moment = deadlines.moment(at, now);
            assert!(moment >= at && moment < at + GRID, "{millis} ms");
            moments.insert(moment);
        }
        assert_eq!(moments.len(), 5, "four a second and the one it began with");
    }

    #[test]
    fn what_is_near_is_due_when_it_has_to_be() {
        let deadlines = Deadlines::new(Instant::now());
        let now = deadlines.origin + Duration::from_secs(1000);
        for millis in [0, 1, 25, 333, 1999] {
            let at = now + Duration::from_millis(millis);
            assert_eq!(deadlines.moment(at, now), at);
        }
    }

    #[test]
    fn entries_that_nobody_waits_for_do_not_pile_up() {
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
