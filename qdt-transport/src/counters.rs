//! The counters of a worker and of a session, and the reasons for drops.
//!
//! Each worker writes its own [`WorkerCounters`] with relaxed stores; the control side adds them up
//! on request. Counters only grow; fields that may fall are named after a state.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

macro_rules! reasons {
    ($(#[$what:meta])* $reason:ident { $($(#[$doc:meta])* $name:ident => $label:literal,)* }) => {
        $(#[$what])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $reason { $($(#[$doc])* $name,)* }

        impl $reason {
            /// Every reason, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the value of the series' `reason` label.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

reasons! {
    /// Why an inner packet or a datagram was dropped: `qdt_drops_total`.
    DropReason {
        /// The session's limit from client to server.
        RateIn => "rate_in",
        /// A counter seen before, or older than the window (RFC 6479).
        Replay => "replay",
        /// Malformed, an unknown type, failed authentication, another session's datagram, a bad
        /// fragment.
        Decode => "decode",
        /// A datagram larger than any of this session.
        DecodeOversize => "decode_oversize",
        /// An inner packet with an invalid version, header or length.
        BadPacket => "bad_packet",
        /// An inner packet whose source is not the session's address.
        SrcMismatch => "src_mismatch",
        /// The kernel refused the packet.
        TunBackpressure => "tun_backpressure",
        /// The session's limit from server to client.
        RateOut => "rate_out",
        /// A packet that neither a datagram nor fragments of this session can carry.
        DatagramOversize => "datagram_oversize",
        /// No session has the packet's destination.
        NoSession => "no_session",
        /// The connection's queue of datagrams, or the queue to another worker, is full.
        QueueFull => "queue_full",
        /// A packet between clients, which the server isolates.
        ClientToClient => "client_to_client",
        /// A packet from a client to a link-local or loopback address of the server's host.
        LinkLocal => "link_local",
        /// Dropped as a congestion signal: a queue stands in the path, or the session is over its
        /// share of the TUN queue.
        Congestion => "congestion",
    }
}

reasons! {
    /// Why a UDP datagram was dropped before QUIC saw it: `qdt_udp_rejected_total`.
    UdpReject {
        /// It came from port 0, which cannot be answered (RFC 768: an unused source port).
        PortZero => "port_zero",
        /// It belongs to another worker, whose queue is full.
        QueueFull => "queue_full",
    }
}

/// The traffic of one session. Its worker writes, the control side reads.
///
/// Not aligned to cache lines: a worker allocates its sessions from an arena of its own thread.
#[derive(Debug, Default)]
pub struct SessionCounters {
    packets_in: AtomicU64,
    packets_out: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// The inner packets and bytes of a session up to one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionTraffic {
    /// Packets from client to server.
    pub packets_in: u64,
    /// Packets from server to client.
    pub packets_out: u64,
    /// Bytes from client to server.
    pub bytes_in: u64,
    /// Bytes from server to client.
    pub bytes_out: u64,
}

impl SessionCounters {
    pub(crate) fn packet(&self, direction: Direction, bytes: usize) {
        let (packets, total) = match direction {
            Direction::ToServer => (&self.packets_in, &self.bytes_in),
            Direction::ToClient => (&self.packets_out, &self.bytes_out),
        };
        bump(packets, 1);
        bump(total, bytes as u64);
    }

    /// Returns the traffic so far.
    #[must_use]
    pub fn read(&self) -> SessionTraffic {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SessionTraffic {
            packets_in: get(&self.packets_in),
            packets_out: get(&self.packets_out),
            bytes_in: get(&self.bytes_in),
            bytes_out: get(&self.bytes_out),
        }
    }
}

/// The counters of one worker. Cache-line aligned so that two workers never share a line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerCounters {
    /// The sum over all sessions that the worker has had.
    carried: SessionCounters,
    fragments_in: AtomicU64,
    fragments_out: AtomicU64,
    tun_reads: AtomicU64,
    tun_writes: AtomicU64,
    udp_reads: AtomicU64,
    udp_datagrams_in: AtomicU64,
    udp_writes: AtomicU64,
    udp_datagrams_out: AtomicU64,
    udp_handed_over: AtomicU64,
    udp_rejected: [AtomicU64; UdpReject::ALL.len()],
    segmentation_off: AtomicBool,
    congestion_marks: AtomicU64,
    drops: [AtomicU64; DropReason::ALL.len()],
}

/// A sum of workers' counters at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Inner packets from client to server.
    pub packets_in: u64,
    /// Inner packets from server to client.
    pub packets_out: u64,
    /// Inner bytes from client to server.
    pub bytes_in: u64,
    /// Inner bytes from server to client.
    pub bytes_out: u64,
    /// Fragments received.
    pub fragments_in: u64,
    /// Fragments sent.
    pub fragments_out: u64,
    /// Reads from the TUN that returned packets.
    pub tun_reads: u64,
    /// Writes to the TUN.
    pub tun_writes: u64,
    /// Buffers received from the UDP socket; under GRO one holds several datagrams.
    pub udp_reads: u64,
    /// UDP datagrams received.
    pub udp_datagrams_in: u64,
    /// Send calls on the UDP socket.
    pub udp_writes: u64,
    /// UDP datagrams sent.
    pub udp_datagrams_out: u64,
    /// UDP datagrams that one worker received for another.
    pub udp_handed_over: u64,
    /// UDP datagrams dropped before QUIC saw them, in the order of [`UdpReject::ALL`].
    pub udp_rejected: [u64; UdpReject::ALL.len()],
    /// Workers that send datagrams one by one now, because the system refuses segmentation.
    pub segmentation_off: u64,
    /// Inner packets marked "congestion experienced" (RFC 3168).
    pub congestion_marks: u64,
    /// Drops by reason, in the order of [`DropReason::ALL`].
    pub drops: [u64; DropReason::ALL.len()],
}

/// The direction of an inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// Adds without a locked instruction, because only the owning worker writes.
fn bump(counter: &AtomicU64, by: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(by),
        Ordering::Relaxed,
    );
}

impl WorkerCounters {
    pub(crate) fn packet(&self, direction: Direction, bytes: usize) {
        self.carried.packet(direction, bytes);
    }

    pub(crate) fn dropped(&self, reason: DropReason) {
        self.dropped_many(reason, 1);
    }

    pub(crate) fn dropped_many(&self, reason: DropReason, count: u64) {
        bump(&self.drops[reason as usize], count);
    }

    pub(crate) fn fragment_in(&self) {
        bump(&self.fragments_in, 1);
    }

    pub(crate) fn fragment_out(&self) {
        bump(&self.fragments_out, 1);
    }

    pub(crate) fn tun_read(&self) {
        bump(&self.tun_reads, 1);
    }

    pub(crate) fn tun_written(&self) {
        bump(&self.tun_writes, 1);
    }

    pub(crate) fn udp_read(&self, datagrams: usize) {
        bump(&self.udp_reads, 1);
        bump(&self.udp_datagrams_in, datagrams as u64);
    }

    pub(crate) fn udp_written(&self, datagrams: usize) {
        bump(&self.udp_writes, 1);
        bump(&self.udp_datagrams_out, datagrams as u64);
    }

    /// Counts UDP datagrams handed over to their owner.
    pub(crate) fn udp_handed_over(&self, datagrams: usize) {
        bump(&self.udp_handed_over, datagrams as u64);
    }

    pub(crate) fn udp_rejected(&self, reason: UdpReject, datagrams: usize) {
        bump(&self.udp_rejected[reason as usize], datagrams as u64);
    }

    /// Sets whether the system refuses segmentation now.
    pub(crate) fn segmentation_off(&self, is_off: bool) {
        self.segmentation_off.store(is_off, Ordering::Relaxed);
    }

    pub(crate) fn marked(&self) {
        bump(&self.congestion_marks, 1);
    }

    /// Adds this worker's counters to `sum`.
    pub fn add_to(&self, sum: &mut Counters) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let carried = self.carried.read();
        sum.packets_in += carried.packets_in;
        sum.packets_out += carried.packets_out;
        sum.bytes_in += carried.bytes_in;
        sum.bytes_out += carried.bytes_out;
        sum.fragments_in += get(&self.fragments_in);
        sum.fragments_out += get(&self.fragments_out);
        sum.tun_reads += get(&self.tun_reads);
        sum.tun_writes += get(&self.tun_writes);
        sum.udp_reads += get(&self.udp_reads);
        sum.udp_datagrams_in += get(&self.udp_datagrams_in);
        sum.udp_writes += get(&self.udp_writes);
        sum.udp_datagrams_out += get(&self.udp_datagrams_out);
        sum.udp_handed_over += get(&self.udp_handed_over);
        sum.segmentation_off += u64::from(self.segmentation_off.load(Ordering::Relaxed));
        sum.congestion_marks += get(&self.congestion_marks);
        for (total, counter) in sum.udp_rejected.iter_mut().zip(&self.udp_rejected) {
            *total += get(counter);
        }
        for (total, counter) in sum.drops.iter_mut().zip(&self.drops) {
            *total += get(counter);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_over_workers_have_every_drop_by_its_reason() {
        let workers = [WorkerCounters::default(), WorkerCounters::default()];
        workers[0].packet(Direction::ToServer, 100);
        workers[1].packet(Direction::ToServer, 50);
        workers[1].packet(Direction::ToClient, 7);
        workers[0].dropped(DropReason::Replay);
        workers[1].dropped_many(DropReason::Replay, 2);
        let mut sum = Counters::default();
        workers.iter().for_each(|worker| worker.add_to(&mut sum));
        assert_eq!(
            (sum.packets_in, sum.bytes_in, sum.packets_out, sum.bytes_out),
            (2, 150, 1, 7)
        );
        let by_label: Vec<_> = DropReason::ALL
            .iter()
            .filter(|reason| sum.drops[**reason as usize] > 0)
            .map(|reason| (reason.label(), sum.drops[*reason as usize]))
            .collect();
        assert_eq!(by_label, [("replay", 3)]);
    }
}
