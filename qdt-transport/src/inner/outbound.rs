//! From the TUN into a session's carrier: each read is split, checked, sealed and queued.
//!
//! The segments of a super-packet share the session, the carrier's limit and the order.

use std::net::IpAddr;

use qdt_proto::datagram::OVERHEAD;
use qdt_proto::packet::{clamp_mss, icmp_packet_too_big};

use super::DataPath;
use crate::carrier::{Carrier, Codec, QuicCarrier};
use crate::counters::{Direction, DropReason};
use crate::engine::Link;
use crate::queue::{CongestionSignal, Share};
use crate::session::Session;

/// The longest ICMP error (RFC 1812 section 4.3.2.3).
const ICMP_BUFFER: usize = 576;

/// A role's policy for packets from the TUN.
pub(crate) trait OutboundPolicy {
    const DIRECTION: Direction;

    /// Checks a packet.
    ///
    /// # Errors
    /// The reason to drop it.
    fn check(&self, packet: &[u8]) -> Result<(), DropReason>;

    /// Counts a sent packet of `len` bytes.
    fn sent(&mut self, len: usize);

    /// Returns the source of an ICMP error about a packet.
    fn error_source(&self) -> IpAddr;
}

/// Sends one TUN read on `link`, the session's carrier. A session `over_share` gets a congestion
/// signal.
pub(crate) fn send<C, P: OutboundPolicy>(
    path: &mut DataPath,
    link: &mut Link<C>,
    (session, codec): (&mut Session, &Codec),
    policy: &mut P,
    over_share: Option<&mut Share>,
    read: &mut [u8],
) {
    let (counters, Some(tun)) = (&path.counters, &mut path.tun) else {
        return;
    };
    let Ok(mut segments) = tun.segments(read) else {
        counters.dropped(DropReason::BadPacket);
        return;
    };
    let mut signal = CongestionSignal::new(&link.quic, &mut link.signals_sent).or_for(over_share);
    let mut carrier = QuicCarrier::new(&mut link.quic, codec, &mut path.arena, link.backlog);
    let limit = session.packet_limit(carrier.datagram_limit());
    while let Some(packet) = segments.next() {
        if let Err(reason) = policy.check(packet) {
            counters.dropped(reason);
            continue;
        }
        if signal.drops(packet, counters) {
            continue;
        }
        clamp_mss(packet, limit);
        if packet.len() > usize::from(session.mtu)
            && let Some((answer, len)) = too_big(packet, session.mtu, policy.error_source())
        {
            counters.dropped(DropReason::DatagramOversize);
            tun.put(&answer[..len], counters);
            continue;
        }
        match session.send_packet(&mut carrier, counters, packet, limit) {
            Ok(()) => {
                counters.packet(P::DIRECTION, packet.len());
                policy.sent(packet.len());
            }
            Err(reason) => counters.dropped(reason),
        }
    }
}

/// Returns the ICMP error for a packet with DF that exceeds the session's MTU: RFC 1191's
/// "fragmentation needed" with the size that fits one datagram.
fn too_big(packet: &[u8], mtu: u16, source: IpAddr) -> Option<([u8; ICMP_BUFFER], usize)> {
    let mut answer = [0; ICMP_BUFFER];
    let carries = mtu.saturating_sub(OVERHEAD as u16);
    let len = icmp_packet_too_big(packet, carries, source, &mut answer)?;
    Some((answer, len))
}
