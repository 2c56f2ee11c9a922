//! The server's policy for inner packets.
//!
//! Invariants: only packets with the session's address as source and true lengths reach the TUN;
//! every datagram of a client is charged to its session's limits, whatever its contents.

use std::net::IpAddr;
use std::time::Instant;

use qdt_proto::datagram::{Header, MessageType};
use qdt_proto::handshake::Capability;
use qdt_proto::packet::{InnerPacket, ipv4_addresses};

use super::admission::Admission;
use super::app::{Client, ServerApp, Shared};
use super::mailbox::PacketBatch;
use super::table::Location;
use crate::counters::{Direction, DropReason, SessionCounters};
use crate::engine::{Engine, Link};
use crate::inner::{self, InboundPolicy, OutboundPolicy, Route};
use crate::rate_limit::Bucket;
use crate::udp::DatagramPort;

/// The source of a packet to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The worker's own TUN queue, of which its sessions have shares.
    Tun,
    /// Another client of this worker.
    Peer,
    /// Another worker, which handed it over.
    OtherWorker,
}

impl<A: Admission> ServerApp<A> {
    /// Sends one TUN packet or super-packet to its session, or hands it over to the session's
    /// worker.
    pub(super) fn send_to_client(
        &mut self,
        engine: &mut Engine<Self, impl DatagramPort>,
        now: Instant,
        read: &mut [u8],
        origin: Origin,
    ) {
        let sent = self.location_of(read).and_then(|location| {
            if location.worker == self.worker {
                return self.seal(engine, now, location, read, origin);
            }
            // Handed over once only: the session has moved in the meantime.
            let batch = self.to_workers.get_mut(location.worker);
            batch
                .filter(|_| origin != Origin::OtherWorker)?
                .push((), &[read]);
            Some(())
        });
        if sent.is_none() {
            self.path.counters.dropped(DropReason::NoSession);
        }
    }

    /// Returns the location of the session that a TUN packet is for.
    fn location_of(&self, read: &[u8]) -> Option<Location> {
        let packet = read.get(self.path.tun.as_ref()?.plain_header().len()..)?;
        let index = self
            .shared
            .pool
            .index(ipv4_addresses(packet)?.destination.into())?;
        self.shared.table.get(index)
    }

    /// Sends one TUN read to a session of this worker; `None` if the session is gone.
    fn seal(
        &mut self,
        engine: &mut Engine<Self, impl DatagramPort>,
        now: Instant,
        location: Location,
        read: &mut [u8],
        origin: Origin,
    ) -> Option<()> {
        let served = self.sessions.at(location)?;
        let link = served.carrier.link(engine)?;
        if !link.app.uni.peer_takes_datagrams {
            return None;
        }
        let over_share = match origin {
            Origin::Tun => self.shares.over_share(&mut served.share, read.len()),
            Origin::Peer | Origin::OtherWorker => None,
        };
        let mut policy = ToClient {
            now,
            to_client: &served.to_client,
            inner: served.inner,
            counters: &served.counters,
        };
        let session = (&mut served.session, &served.carrier.codec);
        inner::send(&mut self.path, link, session, &mut policy, over_share, read);
        served.carrier.touch(engine);
        Some(())
    }

    /// Opens and delivers the datagrams of a connection.
    pub(super) fn receive_from_client(
        &mut self,
        now: Instant,
        link: &mut Link<Client<A::Reservation>>,
    ) {
        let session = link.app.session;
        if let Some(served) = session.and_then(|key| self.sessions.get_mut(key)) {
            let mut policy = FromClient {
                now,
                shared: &self.shared,
                inner: served.inner,
                from_client: &served.from_client,
                upkeep: &served.upkeep,
                counters: &served.counters,
                answers_pings: link.app.uni.peer_takes_datagrams
                    && served.session.caps.contains(Capability::Ping),
                peer_to_peer: &mut self.peer_to_peer,
            };
            let quic = (&mut link.quic, link.backlog);
            let session = (&mut served.session, &served.carrier.codec);
            inner::receive(now, &mut self.path, quic, session, &mut policy);
            if let Some(at) = served.session.next_expiry() {
                link.wake_at(at);
            }
        }
        while link.quic.datagrams().recv().is_some() {
            self.path.counters.dropped(DropReason::NoSession);
        }
    }
}

/// Packets to one client.
struct ToClient<'a> {
    now: Instant,
    to_client: &'a Bucket,
    inner: IpAddr,
    counters: &'a SessionCounters,
}

impl OutboundPolicy for ToClient<'_> {
    const DIRECTION: Direction = Direction::ToClient;

    fn check(&self, _packet: &[u8]) -> Result<(), DropReason> {
        self.to_client
            .take(self.now)
            .then_some(())
            .ok_or(DropReason::RateOut)
    }

    fn sent(&mut self, len: usize) {
        self.counters.packet(Self::DIRECTION, len);
    }

    /// The client's address, because the kernel drops packets from a device with a local source
    /// address (martian), like the gateway's.
    fn error_source(&self) -> IpAddr {
        self.inner
    }
}

/// Packets from one client.
struct FromClient<'a> {
    now: Instant,
    shared: &'a Shared,
    inner: IpAddr,
    from_client: &'a Bucket,
    upkeep: &'a Bucket,
    counters: &'a SessionCounters,
    answers_pings: bool,
    peer_to_peer: &'a mut PacketBatch,
}

impl InboundPolicy for FromClient<'_> {
    const DIRECTION: Direction = Direction::ToServer;
    const CLOSED: &'static [u8] = b"closed by the client";

    /// Charges the bucket of the claimed type before anything more expensive, like opening.
    fn charge<'d>(&self, stripped: Result<&'d [u8], DropReason>) -> Result<&'d [u8], DropReason> {
        // Both buckets have the same rate.
        if self.upkeep.is_off() {
            return stripped;
        }
        let within = match stripped.ok().and_then(claimed_type) {
            Some(MessageType::Data) => self.from_client.take(self.now),
            Some(MessageType::Fragment) => self.upkeep.take_fragment(self.now),
            _ => self.upkeep.take(self.now),
        };
        if within {
            stripped
        } else {
            Err(DropReason::RateIn)
        }
    }

    fn charge_reassembled(&self) -> Result<(), DropReason> {
        let within = self.from_client.take(self.now);
        within.then_some(()).ok_or(DropReason::RateIn)
    }

    fn check_inner(&mut self, packet: &[u8]) -> Result<Route, DropReason> {
        let parsed = InnerPacket::parse(packet).map_err(|_| DropReason::BadPacket)?;
        if parsed.source() != self.inner {
            return Err(DropReason::SrcMismatch);
        }
        let (shared, destination) = (self.shared, parsed.destination());
        if destination == shared.gateway {
            return Ok(Route::Kernel);
        }
        if shared.pool.index(destination).is_some() {
            return if shared.client_to_client {
                Ok(Route::Peer)
            } else {
                Err(DropReason::ClientToClient)
            };
        }
        if stays_on_host(destination) && !shared.forward_link_local.contains(&destination) {
            return Err(DropReason::LinkLocal);
        }
        Ok(Route::Kernel)
    }

    fn passed(&mut self, len: usize) {
        self.counters.packet(Self::DIRECTION, len);
    }

    fn to_peer(&mut self, header: &[u8], packet: &[u8]) {
        self.peer_to_peer.push((), &[header, packet]);
    }

    fn answers_pings(&self) -> bool {
        self.answers_pings
    }
}

/// Returns the type that a datagram claims. With a wrong one it does not open.
fn claimed_type(sealed: &[u8]) -> Option<MessageType> {
    let header = Header::parse(sealed).ok()?;
    MessageType::from_wire(header.kind)
}

/// Returns whether `destination` is a link-local address, where clouds serve the host's
/// credentials, or a loopback address. Checked here instead of by the firewall, so that it holds
/// without NAT and for local addresses too.
const fn stays_on_host(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_loopback(),
    }
}
