//! From a session's carrier into the TUN: opened straight into the super-packet being built,
//! checked, on to the kernel.

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

/// Where an inner packet goes that may pass.
pub(crate) enum Route {
    /// To the TUN.
    Kernel,
    /// To another client, without a detour through the kernel: it works whether or not the host
    /// forwards.
    Peer,
    /// No further: it answers a probe of our own.
    Probe,
}

/// What a role decides about what arrives for a session.
pub(crate) trait InboundPolicy {
    const DIRECTION: Direction;
    /// What the connection is closed with once the peer has ended the session.
    const CLOSED: &'static [u8];

    /// Charges a datagram of the session, or one that is not, to the session's limits.
    fn charge<'d>(&self, stripped: Result<&'d [u8], DropReason>) -> Result<&'d [u8], DropReason> {
        stripped
    }

    /// Charges a packet that came in fragments to the session's limits.
    fn charge_reassembled(&self) -> Result<(), DropReason> {
        Ok(())
    }

    /// Returns where a packet goes that may pass, and why another may not.
    fn check_inner(&mut self, packet: &[u8]) -> Result<Route, DropReason>;

    /// Takes in that a packet of `len` bytes goes on.
    fn passed(&mut self, _len: usize) {}

    /// Takes a packet for [`Route::Peer`], with what the TUN puts before it.
    fn to_peer(&mut self, _header: &[u8], _packet: &[u8]) {}

    /// Returns whether the peer's pings are answered.
    fn answers_pings(&self) -> bool {
        false
    }

    /// Takes in that the peer answered a ping of `len` bytes.
    fn pong(&mut self, _now: Instant, _len: usize) {}
}

/// Opens and delivers every datagram that waits on a carrier of the session; `backlog` as in
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
                        // A pong that finds no room is one that a lossy path could have lost.
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
