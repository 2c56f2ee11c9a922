//! One connection as the engine holds it.

use std::time::{Duration, Instant};

use quinn_proto::{Connection, ConnectionHandle};

use super::Accepted;

/// How long QUIC lets an acknowledgement wait (max_ack_delay, RFC 9000 section 18.2: what
/// quinn-proto announces).
const ACK_DELAY: Duration = Duration::from_millis(25);

/// Keeps bursts short for a peer that queues few datagrams (quic-go: 32 per stream, the newest
/// dropped).
///
/// What counts are DATAGRAM frames, however they are spread: many packets of one frame each overrun
/// the peer's queue, and so do a few packets full of small frames.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// When the next [`Self::TRAIN`] datagrams may leave.
    next_at: Instant,
    /// Datagrams that may still leave before that.
    room: u64,
    /// How many datagrams a packet carried of late.
    per_packet: u64,
}

impl Pace {
    /// Datagrams at once: half of what quic-go queues, so that they may wait while as many more
    /// arrive.
    const TRAIN: u64 = 16;
    /// In this time: 32,000 datagrams per second, more than a Go peer opens.
    const GAP: Duration = Duration::from_micros(500);

    /// The first datagrams may leave at once.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            next_at: now,
            room: 0,
            per_packet: Self::TRAIN,
        }
    }

    /// How many packets may leave now, by what they carried of late.
    pub(super) fn packets(&mut self, now: Instant) -> usize {
        if now >= self.next_at {
            self.next_at = now + Self::GAP;
            self.room = Self::TRAIN;
        }
        match self.room {
            0 => 0,
            room => (room / self.per_packet).max(1) as usize,
        }
    }

    /// So many packets left, and so many datagrams in them.
    pub(super) fn sent(&mut self, packets: usize, datagrams: u64) {
        self.room = self.room.saturating_sub(datagrams);
        if datagrams > 0 {
            // Forgotten slowly: a packet of few datagrams does not promise that the next has few.
            let carried = datagrams.div_ceil(packets.max(1) as u64);
            self.per_packet = carried.max(self.per_packet / 2);
        }
    }

    /// When more may leave, where nothing may now.
    pub(super) fn resumes_at(&self) -> Option<Instant> {
        (self.room == 0).then_some(self.next_at)
    }
}

/// A QUIC connection, what the application keeps for it, and when to look at it again.
pub(crate) struct Link<C> {
    pub(crate) handle: ConnectionHandle,
    pub(crate) quic: Connection,
    pub(crate) app: C,
    /// The application's own deadline, beside QUIC's.
    pub(crate) app_deadline: Option<Instant>,
    /// Toward a peer with a short queue: at most so many datagrams at once.
    pub(crate) pace: Option<Pace>,
    /// Datagrams wait for longer than the turn in which they were queued.
    pub(crate) backlog: bool,
    /// What [`crate::queue::CongestionSignal`] keeps for the connection.
    pub(crate) signals_sent: u64,
    /// `send_buffer_space` while no datagram waits.
    unqueued: usize,
    /// When something last arrived on it.
    pub(crate) heard: Instant,
    /// What arrived in this turn is the first for a while.
    pub(super) after_silence: bool,
    /// Whether the application was told that the connection has ended.
    pub(super) is_lost: bool,
    /// Whether the engine's list of changed connections has this one.
    pub(super) touched: bool,
    /// The earliest time for which the heap holds an entry.
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
            is_lost: false,
            touched: false,
            scheduled: None,
        }
    }

    /// Notes whether what was to be sent has left.
    pub(super) fn note_backlog(&mut self) {
        self.backlog = self.quic.datagrams().send_buffer_space() < self.unqueued;
    }

    /// When something has to be done for the connection next, whatever it is.
    pub(super) fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        // Where the pace lets packets leave by now, they have left, or wait for the socket.
        let paced = self.paced_until().filter(|at| *at > now);
        self.timers().chain(paced).min()
    }

    /// Whether one of the things that [`Self::next_deadline`] names has to be done now.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let paced = self.paced_until();
        self.timers().chain(paced).any(|at| at <= now)
    }

    /// QUIC's next timer and the application's.
    fn timers(&mut self) -> impl Iterator<Item = Instant> + use<C> {
        self.quic
            .poll_timeout()
            .into_iter()
            .chain(self.app_deadline)
    }

    fn paced_until(&self) -> Option<Instant> {
        self.pace.and_then(|pace| pace.resumes_at())
    }

    /// Lets the acknowledgement of the connection's first packet after a silence leave now; false
    /// where none waits.
    ///
    /// QUIC lets it wait for something that it can travel with. Where nothing was said for a while
    /// and nothing is to be said now, that only wakes the worker a second time. quinn-proto has no
    /// word for this, so its clock is moved to its next timer where that is the acknowledgement's:
    /// set by what was heard at `now`, so due exactly one delay later. An earlier one, of a packet
    /// that may be lost, keeps its time.
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

    /// Asks for [`super::Application::deadline`] at `at`, or earlier if it was already asked for
    /// earlier. The engine learns of it when it next flushes the connection.
    pub(crate) fn wake_at(&mut self, at: Instant) {
        self.app_deadline = Some(self.app_deadline.map_or(at, |earlier| earlier.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What leaves at one moment of what waits: the engine's loop, with packets of `per_packet`
    /// datagrams.
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
    fn a_burst_never_exceeds_what_quic_go_queues_however_full_the_packets_are() {
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
        assert_eq!(burst(&mut pace, now + Pace::GAP, 100, 1), 16);
    }

    #[test]
    fn acknowledgements_alone_use_up_nothing() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..100 {
            assert!(pace.packets(now) > 0);
            pace.sent(1, 0);
        }
        assert_eq!(pace.resumes_at(), None);
    }
}
