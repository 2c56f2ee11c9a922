//! One connection as the engine holds it.

use std::time::{Duration, Instant};

use quinn_proto::{Connection, ConnectionHandle};

use super::Accepted;

/// The max_ack_delay that quinn-proto announces (RFC 9000 section 18.2).
const ACK_DELAY: Duration = Duration::from_millis(25);

/// A pacer for peers that queue few datagrams (quic-go: 32 per stream, the newest dropped).
///
/// It counts DATAGRAM frames, because a few packets full of small frames overrun the peer's queue
/// as many packets of one frame do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// When the next [`Self::BURST`] datagrams may be sent.
    next_at: Instant,
    /// Datagrams that may be sent before that.
    room: u64,
    /// A recent maximum of datagrams per packet.
    per_packet: u64,
}

impl Pace {
    /// Datagrams per interval: half of quic-go's queue, so that they may wait while as many more
    /// arrive.
    const BURST: u64 = 16;
    /// The interval: 32,000 datagrams per second, more than a Go peer opens.
    const INTERVAL: Duration = Duration::from_micros(500);

    /// Returns a pacer that allows a burst at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            next_at: now,
            room: 0,
            per_packet: Self::BURST,
        }
    }

    /// Returns how many packets may be sent now, by the recent datagrams per packet.
    pub(super) fn packets(&mut self, now: Instant) -> usize {
        if now >= self.next_at {
            self.next_at = now + Self::INTERVAL;
            self.room = Self::BURST;
        }
        match self.room {
            0 => 0,
            room => (room / self.per_packet).max(1) as usize,
        }
    }

    /// Counts packets and the datagrams in them.
    pub(super) fn sent(&mut self, packets: usize, datagrams: u64) {
        self.room = self.room.saturating_sub(datagrams);
        if datagrams > 0 {
            // Decays slowly: a packet of few datagrams does not mean that the next has few.
            let carried = datagrams.div_ceil(packets.max(1) as u64);
            self.per_packet = carried.max(self.per_packet / 2);
        }
    }

    /// Returns when more may be sent, if nothing may now.
    pub(super) fn resumes_at(&self) -> Option<Instant> {
        (self.room == 0).then_some(self.next_at)
    }
}

/// A QUIC connection, the application's state for it, and its deadlines.
pub(crate) struct Link<C> {
    pub(crate) handle: ConnectionHandle,
    pub(crate) quic: Connection,
    pub(crate) app: C,
    /// The application's deadline, in addition to QUIC's.
    pub(crate) app_deadline: Option<Instant>,
    /// The pacer, toward a peer with a short queue.
    pub(crate) pace: Option<Pace>,
    /// Whether datagrams of an earlier turn wait.
    pub(crate) backlog: bool,
    /// The state of [`crate::queue::CongestionSignal`].
    pub(crate) signals_sent: u64,
    /// `send_buffer_space` of an empty queue.
    unqueued: usize,
    /// When a packet last arrived on it.
    pub(crate) heard: Instant,
    /// Whether this turn brought the first packet after a silence.
    pub(super) after_silence: bool,
    /// Whether [`super::Application::closed`] was called.
    pub(super) close_reported: bool,
    /// Whether the engine's `touched` has this connection.
    pub(super) touched: bool,
    /// The earliest instant for which the heap has an entry.
    pub(super) scheduled: Option<Instant>,
}

impl<C> Link<C> {
    pub(super) fn new(now: Instant, accepted: Accepted<C>) -> Self {
        let Accepted {
            handle,
            mut quic,
            app,
            wake_at,
        } = accepted;
        let unqueued = quic.datagrams().send_buffer_space();
        Self {
            handle,
            quic,
            app,
            app_deadline: wake_at,
            pace: None,
            backlog: false,
            signals_sent: 0,
            unqueued,
            heard: now,
            after_silence: false,
            close_reported: false,
            touched: false,
            scheduled: None,
        }
    }

    /// Updates `backlog` after sending.
    pub(super) fn note_backlog(&mut self) {
        self.backlog = self.quic.datagrams().send_buffer_space() < self.unqueued;
    }

    /// Returns when the connection needs attention next.
    pub(super) fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        // A pacer that allows packets now has let them pass, or they wait for the socket.
        let paced = self.paced_until().filter(|at| *at > now);
        self.timers().chain(paced).min()
    }

    /// Returns whether a deadline of [`Self::next_deadline`] has passed.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let paced = self.paced_until();
        self.timers().chain(paced).any(|at| at <= now)
    }

    /// Returns QUIC's next timer and the application's deadline.
    fn timers(&mut self) -> impl Iterator<Item = Instant> + use<C> {
        self.quic
            .poll_timeout()
            .into_iter()
            .chain(self.app_deadline)
    }

    fn paced_until(&self) -> Option<Instant> {
        self.pace.and_then(|pace| pace.resumes_at())
    }

    /// Makes the acknowledgement of the first packet after a silence due now. Returns false if none
    /// is pending.
    ///
    /// QUIC delays it to send it along with other frames. After a silence there are none, and the
    /// delay only wakes the worker twice. quinn-proto has no call for this, so its clock is moved
    /// to its next timer if that is the acknowledgement's: a packet received at `now` sets it
    /// exactly one delay later. The timer of an earlier packet, which may be lost, is not touched.
    pub(super) fn acknowledge_at_once(&mut self, now: Instant) -> bool {
        let due = self
            .quic
            .poll_timeout()
            .filter(|at| *at == now + ACK_DELAY && !self.quic.is_closed());
        if let Some(at) = due {
            self.quic.handle_timeout(at);
        }
        due.is_some()
    }

    /// Requests [`super::Application::deadline`] at `at`, unless an earlier one is requested. The
    /// engine sees it at the connection's next flush.
    pub(crate) fn wake_at(&mut self, at: Instant) {
        self.app_deadline = Some(self.app_deadline.map_or(at, |earlier| earlier.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many of `waiting` datagrams the engine's loop sends at one instant, with
    /// `per_packet` in each packet.
    fn burst(pace: &mut Pace, now: Instant, mut waiting: u64, per_packet: u64) -> u64 {
        let mut sent = 0;
        while waiting > 0 {
            let packets = pace.packets(now);
            if packets == 0 {
                break;
            }
            let datagrams = waiting.min(packets as u64 * per_packet);
            pace.sent(packets, datagrams);
            waiting -= datagrams;
            sent += datagrams;
        }
        sent
    }

    #[test]
    fn a_burst_never_exceeds_the_queue_of_quic_go_however_full_the_packets_are() {
        let mut now = Instant::now();
        for per_packet in [1, 2, 5, 12] {
            let mut pace = Pace::new(now);
            for _ in 0..10 {
                let sent = burst(&mut pace, now, 1000, per_packet);
                assert!((16..=28).contains(&sent), "{sent} of {per_packet} each");
                now = pace.resumes_at().expect("something waits");
            }
        }
    }

    #[test]
    fn packets_sent_one_by_one_are_counted_together() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        let sent: u64 = (0..100).map(|_| burst(&mut pace, now, 1, 1)).sum();
        assert_eq!(sent, 16);
        assert_eq!(burst(&mut pace, now + Pace::INTERVAL, 100, 1), 16);
    }

    #[test]
    fn acknowledgements_alone_are_not_paced() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..100 {
            assert!(pace.packets(now) > 0);
            pace.sent(1, 0);
        }
        assert_eq!(pace.resumes_at(), None);
    }
}
