//! What telling an inner connection of a queue does to its packets.
//!
//! Invariant: one packet is taken when one is due, and never more than one of a super-packet, because a connection needs
//! to be told once in a round trip.

use qdt_proto::packet::{Ecn, is_expendable, mark_congestion};
use quinn_proto::Connection;

use crate::counters::{DropReason, WorkerCounters};
use crate::path::relief_due;

/// Marks or drops a packet of one super-packet where that is due, because a queue of the connection's own stands in its
/// path (after RFC 8289). For connections of [`crate::dialling_config`] and those of the workers.
#[derive(Debug)]
pub struct Relief<'a> {
    /// How many were to be taken in all, when it is one more than before.
    due: Option<u64>,
    /// One is to be taken for another reason.
    is_greedy: bool,
    /// The same when a packet was taken last.
    done: &'a mut u64,
}

impl<'a> Relief<'a> {
    /// For the next super-packet on `quic`; `done` is kept for the connection, 0 at first.
    #[must_use]
    pub fn new(quic: &Connection, done: &'a mut u64) -> Self {
        // On a new path the count begins anew, so it may be less.
        let due = relief_due(quic).filter(|due| due != done);
        Self {
            due,
            is_greedy: false,
            done,
        }
    }

    /// One is to be taken whatever the path is like, where [`super::Shares`] says so.
    #[must_use]
    pub fn or_if(mut self, is_greedy: bool) -> Self {
        self.is_greedy = is_greedy;
        self
    }

    /// Looks at one packet before it is sealed; true when it is to be dropped (and was counted).
    #[inline]
    pub fn drops(&mut self, packet: &mut [u8], counters: &WorkerCounters) -> bool {
        (self.due.is_some() || self.is_greedy) && self.take(packet, counters)
    }

    #[cold]
    fn take(&mut self, packet: &mut [u8], counters: &WorkerCounters) -> bool {
        if !is_expendable(packet) {
            return false;
        }
        self.is_greedy = false;
        if let Some(due) = self.due.take() {
            *self.done = due;
        }
        match mark_congestion(packet) {
            Ecn::Marked => {
                counters.marked();
                false
            }
            Ecn::NotCapable => {
                counters.dropped(DropReason::Congestion);
                true
            }
        }
    }
}
