//! From the TUN into a session's carrier: split, checked, sealed, queued.
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

/// Room for an ICMP error with what it quotes (RFC 1812 section 4.3.2.3: at most 576 bytes).
const ICMP_BUFFER: usize = 576;

/// What a role decides about the packets that it sends for a session.
pub(crate) trait OutboundPolicy {
    const DIRECTION: Direction;

    /// Returns why a packet is not sent, where it is not.
    fn check(&self, packet: &[u8]) -> Result<(), DropReason>;

    /// Takes in that a packet of `len` bytes was sent.
    fn sent(&mut self, len: usize);

    /// Returns the source of an ICMP error about a packet.
    fn error_source(&self) -> IpAddr;
}

/// Sends what one TUN read brought on `link`, the session's carrier. Where the session is
/// `over_share` it gets a congestion signal.
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

/// Returns the answer to a packet that must not be fragmented and is larger than the session's
/// MTU: RFC 1191's "fragmentation needed" with the size that one datagram carries.
fn too_big(packet: &[u8], mtu: u16, source: IpAddr) -> Option<([u8; ICMP_BUFFER], usize)> {
    let mut answer = [0; ICMP_BUFFER];
    let carries = mtu.saturating_sub(OVERHEAD as u16);
    let len = icmp_packet_too_big(packet, carries, source, &mut answer)?;
    Some((answer, len))
}
