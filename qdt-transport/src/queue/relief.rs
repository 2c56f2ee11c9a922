//! What telling an inner connection of a queue does to its packets.
//!
//! Invariant: one packet is taken when one is due, and never more than one of a super-packet, because a connection needs
//! to be told once in a round trip.

use qdt_proto::packet::{Ecn, is_expendable, mark_congestion};
use quinn_proto::Connection;

use crate::counters::{DropReason, WorkerCounters};
use crate::path::relief_due;

/// Marks or drops a packet of one super-packet where that is due.
#[derive(Debug)]
pub(crate) struct Relief<'a> {
    /// How many were to be taken in all, when it is one more than before.
    due: Option<u64>,
    /// The same when a packet was taken last.
    done: &'a mut u64,
}

impl<'a> Relief<'a> {
    /// For the next super-packet on `quic`; `done` is kept for the connection, 0 at first.
    pub(crate) fn new(quic: &Connection, done: &'a mut u64) -> Self {
        // On a new path the count begins anew, so it may be less.
        let due = relief_due(quic).filter(|due| due != done);
        Self { due, done }
    }

    /// Looks at one packet before it is sealed; true when it is to be dropped (and was counted).
    #[inline]
    pub(crate) fn drops(&mut self, packet: &mut [u8], counters: &WorkerCounters) -> bool {
        self.due.is_some() && self.take(packet, counters)
    }

    #[cold]
    fn take(&mut self, packet: &mut [u8], counters: &WorkerCounters) -> bool {
        let Some(due) = self.due.take_if(|_| is_expendable(packet)) else {
            return false;
        };
        *self.done = due;
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
