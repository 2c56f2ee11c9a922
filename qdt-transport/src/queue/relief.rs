//! What telling an inner connection of a queue does to its packets.
//!
//! Invariant: one packet is taken when one is due, and never more than one of a super-packet, because a connection needs
//! to be told once in a round trip.

use qdt_proto::packet::{Ecn, is_expendable, mark_congestion};
use quinn_proto::Connection;

use super::Share;
use crate::counters::{DropReason, WorkerCounters};
use crate::path::relief_due;

/// Marks or drops a packet of one super-packet where that is due, because a queue of the connection's own stands in its
/// path (after RFC 8289). For connections of [`crate::dialling_config`] and those of the workers.
#[derive(Debug)]
pub struct Relief<'a> {
    /// How many were to be taken in all, when it is one more than before.
    due: Option<u64>,
    /// Whose share of another queue is too large: one is to be taken for that.
    greedy: Option<&'a mut Share>,
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
            greedy: None,
            done,
        }
    }

    /// One is to be taken whatever the path is like, where [`super::Shares::tells`] names the session.
    #[must_use]
    pub fn or_for(mut self, greedy: Option<&'a mut Share>) -> Self {
        self.greedy = greedy;
        self
    }

    /// Looks at one packet before it is sealed; true when it is to be dropped (and was counted).
    #[inline]
    pub fn drops(&mut self, packet: &mut [u8], counters: &WorkerCounters) -> bool {
        (self.due.is_some() || self.greedy.is_some()) && self.take(packet, counters)
    }

    #[cold]
    fn take(&mut self, packet: &mut [u8], counters: &WorkerCounters) -> bool {
        if !is_expendable(packet) {
            return false;
        }
        if let Some(session) = self.greedy.take() {
            session.is_told();
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;

    /// A UDP packet of `len` bytes whose sender does not listen to marks.
    fn packet(len: u16) -> Vec<u8> {
        let mut packet = vec![0; usize::from(len)];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[9] = 17;
        packet
    }

    #[test]
    fn of_a_super_packet_one_large_packet_is_taken_however_many_reasons_there_are() {
        for due in [None, Some(7)] {
            let (mut done, mut share) = (6, Share::default());
            let counters = WorkerCounters::default();
            let mut relief = Relief {
                due,
                greedy: Some(&mut share),
                done: &mut done,
            };
            let taken: Vec<bool> = [100, 1300, 1300]
                .map(|len| relief.drops(&mut packet(len), &counters))
                .into();
            assert_eq!(taken, [false, true, false]);
            assert_eq!(done, due.unwrap_or(6));
            let mut sum = Counters::default();
            counters.add_to(&mut sum);
            assert_eq!(sum.drops[DropReason::Congestion as usize], 1);
        }
    }
}
