//! A packet's way down: TUN, split, session by inner address, sealed, into the connection's queue.
//!
//! A super-packet is looked up once; its segments share the session, the path's limit and the
//! order.

use std::net::IpAddr;
use std::time::Instant;

use qdt_proto::datagram::OVERHEAD;
use qdt_proto::packet::{Segments, VnetHeader, clamp_mss, icmp_packet_too_big, ipv4_addresses};

use super::admission::Admission;
use super::app::ServerApp;
use super::inbox::PacketBatch;
use super::sessions::Served;
use super::table::Location;
use crate::carrier::{Carrier, QuicCarrier};
use crate::counters::{Direction, DropReason};
use crate::engine::{Engine, Link};
use crate::queue::CongestionSignal;
use crate::udp::DatagramPort;

/// Room for an ICMP error with what it quotes (RFC 1812 section 4.3.2.3: at most 576 bytes).
const ICMP_BUFFER: usize = 576;

/// Where a packet waited for this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// In the worker's own TUN queue, of which its sessions have shares.
    InTun,
    /// Another worker read it, or another client of this one sent it.
    Elsewhere,
}

impl<A: Admission> ServerApp<A> {
    /// Sends one TUN packet or super-packet to its session, or hands it to the worker that has it.
    pub(super) fn send_to_client(
        &mut self,
        engine: &mut Engine<Self, impl DatagramPort>,
        now: Instant,
        read: &mut [u8],
        waited: Waited,
        elsewhere: &mut [PacketBatch],
    ) {
        let header = if self.tun.has_vnet_header {
            VnetHeader::LEN
        } else {
            0
        };
        let Some(location) = read
            .get(header..)
            .and_then(ipv4_addresses)
            .and_then(|addresses| self.shared.pool.index(addresses.destination.into()))
            .and_then(|index| self.shared.table.get(index))
        else {
            self.counters.dropped(DropReason::NoSession);
            return;
        };
        if location.worker != self.worker {
            match elsewhere.get_mut(location.worker) {
                Some(batch) => batch.push(&[read]),
                None => self.counters.dropped(DropReason::NoSession),
            }
            return;
        }
        self.seal(engine, now, location, read, waited);
    }

    fn seal(
        &mut self,
        engine: &mut Engine<Self, impl DatagramPort>,
        now: Instant,
        location: Location,
        read: &mut [u8],
        waited: Waited,
    ) {
        let Self {
            counters,
            arena,
            tun,
            shares,
            sessions,
            ..
        } = self;
        let Some(served) = sessions.at(location) else {
            counters.dropped(DropReason::NoSession);
            return;
        };
        let carrier = served.carrier;
        let Some(link) = carrier.link(engine) else {
            return;
        };
        if !link.app.uni.peer_takes_datagrams {
            counters.dropped(DropReason::NoSession);
            return;
        }
        let Link {
            quic,
            signals_sent,
            backlog,
            ..
        } = link;
        let Served {
            session,
            to_client,
            inner,
            share,
            counters: carried,
            ..
        } = served;
        let over_share = match waited {
            Waited::InTun => shares.over_share(share, read.len()),
            Waited::Elsewhere => None,
        };
        let Ok(mut segments) = Segments::new(read, tun.has_vnet_header) else {
            counters.dropped(DropReason::BadPacket);
            return;
        };
        let mut signal = CongestionSignal::new(quic, signals_sent).or_for(over_share);
        let mut outlet = QuicCarrier::new(quic, &carrier.codec, arena, *backlog);
        let limit = session.packet_limit(outlet.datagram_limit());
        while let Some(packet) = segments.next() {
            if !to_client.take(now) {
                counters.dropped(DropReason::RateOut);
                continue;
            }
            if signal.drops(packet, counters) {
                continue;
            }
            clamp_mss(packet, limit);
            if packet.len() > usize::from(session.mtu)
                && let Some((answer, len)) = too_big(packet, session.mtu, *inner)
            {
                counters.dropped(DropReason::DatagramOversize);
                tun.put(&answer[..len], counters);
                continue;
            }
            match session.send_packet(&mut outlet, counters, packet, limit) {
                Ok(()) => {
                    counters.packet(Direction::Out, packet.len());
                    carried.packet(Direction::Out, packet.len());
                }
                Err(reason) => counters.dropped(reason),
            }
        }
        carrier.touch(engine);
    }
}

/// The answer to a packet that must not be fragmented and is larger than the session's MTU: RFC
/// 1191's "fragmentation needed" with the size that one datagram carries.
///
/// It comes from the client's address: the kernel takes nothing from a device whose source is an
/// address of this host (martian), so the gateway's own would never be believed.
fn too_big(packet: &[u8], mtu: u16, client: IpAddr) -> Option<([u8; ICMP_BUFFER], usize)> {
    let mut answer = [0; ICMP_BUFFER];
    let carries = mtu.saturating_sub(OVERHEAD as u16);
    let len = icmp_packet_too_big(packet, carries, client, &mut answer)?;
    Some((answer, len))
}
