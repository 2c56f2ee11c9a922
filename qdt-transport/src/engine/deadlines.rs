//! When which connection needs to be looked at: a heap that is corrected late.
//!
//! A connection's deadline moves with nearly every packet, mostly to later. So the heap keeps an entry that
//! is at or before the true deadline; when it comes up, the engine compares and pushes the true one again.
//! Entries that nobody waits for any more stay until they are due, or until there are too many of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use quinn_proto::ConnectionHandle;

/// Entries that are never worth a pass over all of them.
const STALE_MIN: usize = 256;
/// Entries per connection from which on there is one: each pass is paid for by as many pushes.
const STALE_RATIO: usize = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Default for Deadlines {
    /// With room for all the entries that a few connections ever have: it does not grow while packets pass.
    fn default() -> Self {
        Self {
            heap: BinaryHeap::with_capacity(2 * STALE_MIN),
        }
    }
}

impl Deadlines {
    pub(super) fn push(&mut self, at: Instant, handle: ConnectionHandle) {
        self.heap.push(Reverse((at, handle.0)));
    }

    /// Removes the entries that `waits` does not know, once there are many more than the `connections`.
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

    /// Removes and returns one entry that is due. It counts only if its connection still waits for exactly
    /// this time: an earlier entry may have taken its place, or another connection its handle.
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
        let mut deadlines = Deadlines::default();
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
    fn entries_that_nobody_waits_for_do_not_pile_up() {
        let now = Instant::now();
        let at = |n: u32| now + Duration::from_secs(30) + Duration::from_millis(1) * n;
        let mut deadlines = Deadlines::default();
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
