//! The client's policy for inner packets.
//!
//! Invariants: packets to the server have the session's address as source, packets from it have it
//! as destination, because a server may reach nothing else on this host; answers to our own probes
//! do not reach the TUN.

use std::net::IpAddr;
use std::time::Instant;

use qdt_proto::packet::{InnerPacket, echo_reply_sequence};

use super::app::{Attempt, ClientApp, Phase};
use super::liveness::Liveness;
use super::probes::{ECHO_IDENTIFIER, SHORT_PING};
use super::tunnels::Inside;
use crate::counters::{Direction, DropReason};
use crate::engine::{Engine, Link};
use crate::inner::{self, InboundPolicy, OutboundPolicy, Route};
use crate::udp::DatagramPort;

impl ClientApp {
    /// Sends one TUN packet or super-packet on the carrier of the active session.
    pub(super) fn send_to_server(
        &mut self,
        engine: &mut Engine<Self, impl DatagramPort>,
        read: &mut [u8],
    ) {
        let Some(tunnel) = self.tunnels.active() else {
            self.path.counters.dropped(DropReason::NoSession);
            return;
        };
        tunnel.carrier.touch(engine);
        if let Some(link) = tunnel.carrier.link(engine) {
            let session = (&mut tunnel.session, &tunnel.carrier.codec);
            inner::send(
                &mut self.path,
                link,
                session,
                &mut tunnel.inside,
                None,
                read,
            );
        }
    }

    /// Opens and delivers the datagrams of a connection, including those on connections that do not
    /// carry the tunnel now: packets sent before a move still arrive.
    pub(super) fn receive_from_server(&mut self, now: Instant, link: &mut Link<Attempt>) {
        if let Phase::Established(key, liveness) = &mut link.app.phase
            && let Some(tunnel) = self.tunnels.get_mut(*key)
        {
            let quic = (&mut link.quic, link.backlog);
            let session = (&mut tunnel.session, &tunnel.carrier.codec);
            let inside = &mut tunnel.inside;
            let mut policy = FromServer { inside, liveness };
            inner::receive(now, &mut self.path, quic, session, &mut policy);
        }
        // Datagrams without a session are ignored.
        while link.quic.datagrams().recv().is_some() {}
    }
}

impl OutboundPolicy for Inside {
    const DIRECTION: Direction = Direction::ToServer;

    fn check(&self, packet: &[u8]) -> Result<(), DropReason> {
        match InnerPacket::parse(packet) {
            Ok(parsed) if parsed.source() == self.address => Ok(()),
            Ok(_) => Err(DropReason::SrcMismatch),
            Err(_) => Err(DropReason::BadPacket),
        }
    }

    fn sent(&mut self, _len: usize) {
        self.sent += 1;
    }

    fn error_source(&self) -> IpAddr {
        self.gateway
    }
}

/// Packets from the server.
struct FromServer<'a> {
    inside: &'a mut Inside,
    liveness: &'a mut Liveness,
}

impl InboundPolicy for FromServer<'_> {
    const DIRECTION: Direction = Direction::ToClient;
    const CLOSED: &'static [u8] = b"closed by the server";

    fn check_inner(&mut self, packet: &[u8]) -> Result<Route, DropReason> {
        let parsed = InnerPacket::parse(packet).map_err(|_| DropReason::BadPacket)?;
        if parsed.destination() != self.inside.address {
            return Err(DropReason::BadPacket);
        }
        self.inside.received += 1;
        // Other programs may use our identifier: only answers to our own requests are kept from
        // them.
        let is_ours = parsed.source() == self.inside.gateway
            && echo_reply_sequence(packet, ECHO_IDENTIFIER)
                .is_some_and(|sequence| self.liveness.is_our_reply(sequence));
        Ok(if is_ours { Route::Probe } else { Route::Kernel })
    }

    fn pong(&mut self, now: Instant, len: usize) {
        if len > SHORT_PING {
            self.liveness.path_answered(now);
        }
    }
}
