//! The congestion signal to an inner connection: one of its packets is marked or dropped.
//!
//! Invariant: each due signal is sent once, and a super-packet carries at most one, because a
//! connection needs one per round trip.

use qdt_proto::packet::{Ecn, is_drop_eligible, mark_congestion};
use quinn_proto::Connection;

use super::Share;
use super::uncontrolled::signals_due;
use crate::counters::{DropReason, WorkerCounters};

/// The signal for one super-packet of a session, due for the standing queue in the connection's
/// path (RFC 8289) or for the session's share of the worker's TUN queue. The connection comes from
/// [`crate::simulation::dialling_config`] or from a worker.
#[derive(Debug)]
pub struct CongestionSignal<'a> {
    /// The signals due so far for the path's queue, if they differ from those sent.
    due: Option<u64>,
    /// The session, if it is over its share of the TUN queue.
    over_share: Option<&'a mut Share>,
    /// The signals sent so far for the path's queue.
    sent: &'a mut u64,
}

impl<'a> CongestionSignal<'a> {
    /// Returns the signal for the next super-packet on `quic`. The caller keeps `sent` per
    /// connection, starting at 0.
    #[must_use]
    pub fn new(quic: &Connection, sent: &'a mut u64) -> Self {
        // A new path counts from 0, so `due` may be below `sent`.
        let due = signals_due(quic).filter(|due| due != sent);
        Self {
            due,
            over_share: None,
            sent,
        }
    }

    /// Adds a session that [`super::FairShare::over_share`] returned.
    #[must_use]
    pub fn or_for(mut self, over_share: Option<&'a mut Share>) -> Self {
        self.over_share = over_share;
        self
    }

    /// Marks the packet where a signal is due, before it is sealed. Returns true if it is to be
    /// dropped instead, and counts the drop.
    #[inline]
    pub fn drops(&mut self, packet: &mut [u8], counters: &WorkerCounters) -> bool {
        (self.due.is_some() || self.over_share.is_some()) && self.send(packet, counters)
    }

    #[cold]
    fn send(&mut self, packet: &mut [u8], counters: &WorkerCounters) -> bool {
        if !is_drop_eligible(packet) {
            return false;
        }
        if let Some(session) = self.over_share.take() {
            session.signalled();
        }
        if let Some(due) = self.due.take() {
            *self.sent = due;
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

    /// Returns a UDP packet of `len` bytes whose sender is not ECN-capable.
    fn packet(len: u16) -> Vec<u8> {
        let mut packet = vec![0; usize::from(len)];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet[9] = 17;
        packet
    }

    #[test]
    fn one_large_packet_of_a_super_packet_is_signalled_for_any_number_of_reasons() {
        for due in [None, Some(7)] {
            let (mut sent, mut share) = (6, Share::default());
            let counters = WorkerCounters::default();
            let mut signal = CongestionSignal {
                due,
                over_share: Some(&mut share),
                sent: &mut sent,
            };
            let taken: Vec<bool> = [100, 1300, 1300]
                .map(|len| signal.drops(&mut packet(len), &counters))
                .into();
            assert_eq!(taken, [false, true, false]);
            assert_eq!(sent, due.unwrap_or(6));
            let mut sum = Counters::default();
            counters.add_to(&mut sum);
            assert_eq!(sum.drops[DropReason::Congestion as usize], 1);
        }
    }
}
