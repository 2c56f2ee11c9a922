//! From a session's carrier into the TUN: each datagram is opened straight into the next
//! super-packet, checked and written.

use std::time::Instant;

use bytes::Bytes;
use qdt_proto::datagram::{MessageType, OVERHEAD, Opened};
use qdt_proto::http3::code;
use qdt_proto::packet::clamp_mss;
use quinn_proto::Connection;

use super::DataPath;
use crate::carrier::{Codec, QuicCarrier};
use crate::counters::{Direction, DropReason};
use crate::http3_streams::error_code;
use crate::session::Session;

/// The longest ping that is answered: a padded probe of the whole path.
const MAX_PING: usize = 1500;

/// The destination of a valid inner packet.
pub(crate) enum Route {
    /// The TUN.
    Kernel,
    /// Another client. It bypasses the kernel, so that it works without forwarding on the host.
    Peer,
    /// None: it answers our own probe.
    Probe,
}

/// A role's policy for packets from a carrier.
pub(crate) trait InboundPolicy {
    const DIRECTION: Direction;
    /// The close reason after the peer has ended the session.
    const CLOSED: &'static [u8];

    /// Charges a datagram to the session's limits, even if it is not of the session.
    fn charge<'d>(&self, stripped: Result<&'d [u8], DropReason>) -> Result<&'d [u8], DropReason> {
        stripped
    }

    /// Charges a reassembled packet to the session's limits.
    fn charge_reassembled(&self) -> Result<(), DropReason> {
        Ok(())
    }

    /// Returns the route of a valid packet, or the reason to drop it.
    fn check_inner(&mut self, packet: &[u8]) -> Result<Route, DropReason>;

    /// Counts a packet of `len` bytes that was routed.
    fn passed(&mut self, _len: usize) {}

    /// Takes a packet for [`Route::Peer`] and the header that the TUN puts before it.
    fn to_peer(&mut self, _header: &[u8], _packet: &[u8]) {}

    /// Returns whether pings of the peer are answered.
    fn answers_pings(&self) -> bool {
        false
    }

    /// Handles the peer's answer to a ping of `len` bytes.
    fn pong(&mut self, _now: Instant, _len: usize) {}
}

/// Opens and delivers the datagrams of a session's carrier; `backlog` is
/// [`Link::backlog`](crate::engine::Link).
pub(crate) fn receive<P: InboundPolicy>(
    now: Instant,
    path: &mut DataPath,
    (quic, backlog): (&mut Connection, bool),
    (session, codec): (&mut Session, &Codec),
    policy: &mut P,
) {
    let (counters, Some(tun)) = (&path.counters, &mut path.tun) else {
        return;
    };
    let header = tun.plain_header();
    let mut deliver = |quic: &mut Connection, datagram: &[u8]| {
        let sealed = policy.charge(session.strip(codec, datagram))?;
        let limit = session.packet_limit(codec.datagram_limit(quic));
        let slot = tun.slot(sealed.len().saturating_sub(OVERHEAD));
        let packet = match session.open(now, sealed, slot)? {
            Opened::Packet(len) => &mut slot[..len],
            Opened::Reassembled(packet) => {
                counters.fragment_in();
                let slot = tun.slot(packet.len());
                slot.copy_from_slice(packet);
                policy.charge_reassembled()?;
                slot
            }
            control => {
                match control {
                    Opened::Incomplete => counters.fragment_in(),
                    Opened::Ping(len) if policy.answers_pings() => {
                        let arena = &mut path.arena;
                        let mut carrier = QuicCarrier::new(quic, codec, arena, backlog);
                        let echoed = &slot[..len.min(MAX_PING)];
                        // A pong without room counts as lost on the path.
                        let _ = session.send_message(&mut carrier, MessageType::Pong, echoed);
                    }
                    Opened::Pong(len) => policy.pong(now, len),
                    Opened::Close(_) => {
                        let reason = Bytes::from_static(P::CLOSED);
                        quic.close(now, error_code(code::H3_NO_ERROR), reason);
                    }
                    _ => {}
                }
                return Ok(());
            }
        };
        let route = policy.check_inner(packet)?;
        clamp_mss(packet, limit);
        let len = packet.len();
        match route {
            Route::Kernel => tun.commit(len, counters),
            Route::Peer => policy.to_peer(header, packet),
            Route::Probe => return Ok(()),
        }
        counters.packet(P::DIRECTION, len);
        policy.passed(len);
        Ok(())
    };
    while let Some(datagram) = quic.datagrams().recv() {
        if let Err(reason) = deliver(quic, &datagram) {
            counters.dropped(reason);
        }
    }
}
