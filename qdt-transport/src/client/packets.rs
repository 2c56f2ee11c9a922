//! What a client decides about inner packets, in both directions.
//!
//! Invariants: what leaves comes from the session's own address, and what arrives is for it: a
//! server has no other business on this host. The answers to our own probes go no further.

use std::net::IpAddr;
use std::time::Instant;

use qdt_proto::packet::{InnerPacket, echo_reply_sequence};

use super::app::{Attempt, ClientApp, Phase};
use super::probes::{ECHO_IDENTIFIER, SHORT_PING};
use super::tunnels::Inside;
use super::watch::Watch;
use crate::counters::{Direction, DropReason};
use crate::engine::{Engine, Link};
use crate::inner::{self, InboundPolicy, OutboundPolicy, Route};
use crate::udp::DatagramPort;

impl ClientApp {
    /// Sends one TUN packet or super-packet on what carries the active session.
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

    /// Opens and delivers every datagram that waits on a connection, also on one that does not
    /// carry the tunnel (yet, or any more): what was sent on it before a move still arrives.
    pub(super) fn receive_from_server(&mut self, now: Instant, link: &mut Link<Attempt>) {
        if let Phase::Established(key, watch) = &mut link.app.phase
            && let Some(tunnel) = self.tunnels.get_mut(*key)
        {
            let quic = (&mut link.quic, link.backlog);
            let session = (&mut tunnel.session, &tunnel.carrier.codec);
            let inside = &mut tunnel.inside;
            let mut policy = FromServer { inside, watch };
            inner::receive(now, &mut self.path, quic, session, &mut policy);
        }
        // What arrives without a session is nobody's.
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

/// What arrives from the server.
struct FromServer<'a> {
    inside: &'a mut Inside,
    watch: &'a mut Watch,
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
        // Any program on this host may use our identifier: only what answers us is kept from it.
        let is_ours = parsed.source() == self.inside.gateway
            && echo_reply_sequence(packet, ECHO_IDENTIFIER)
                .is_some_and(|sequence| self.watch.is_our_reply(sequence));
        Ok(if is_ours { Route::Probe } else { Route::Kernel })
    }

    fn pong(&mut self, now: Instant, len: usize) {
        if len > SHORT_PING {
            self.watch.path_answered(now);
        }
    }
}
