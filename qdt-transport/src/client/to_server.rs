//! A packet's way out: TUN, split, checked, sealed, into the queue of the connection that carries
//! the tunnel; and the client's own probes, which take the same way.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use qdt_proto::datagram::MessageType;
use qdt_proto::packet::{
    ECHO_LEN, InnerPacket, Segments, clamp_mss, echo_request, icmp_packet_too_big,
};

use super::ClientEvent;
use super::app::{Attempt, ClientApp, Phase};
use super::tunnels::Tunnel;
use super::watch::{Probe, Seen, Verdict};
use crate::arena::Arena;
use crate::carrier::{Carrier, QuicCarrier};
use crate::counters::{Direction, DropReason};
use crate::engine::{Engine, Link};
use crate::queue::CongestionSignal;
use crate::udp::DatagramPort;

/// Marks our own echo requests: nobody else's replies are kept from the host. "qd" in ASCII.
pub(super) const ECHO_IDENTIFIER: u16 = 0x7164;
/// Length of a ping without padding: a timestamp.
pub(super) const SHORT_PING: usize = 8;
/// Room for an ICMP error with what it quotes.
const ICMP_BUFFER: usize = 576;
/// The longest padded ping.
const MAX_PING: usize = 1500;

impl ClientApp {
    /// Sends one TUN packet or super-packet on what carries the active session.
    pub(super) fn send_to_server<P: DatagramPort>(
        &mut self,
        engine: &mut Engine<Self, P>,
        read: &mut [u8],
    ) {
        let Self {
            counters,
            arena,
            tun,
            tunnels,
            ..
        } = self;
        let (Some(tunnel), Some(tun)) = (tunnels.active(), tun) else {
            counters.dropped(DropReason::NoSession);
            return;
        };
        tunnel.carrier.touch(engine);
        let Some(link) = tunnel.carrier.link(engine) else {
            return;
        };
        let gateway = IpAddr::from(tunnel.gateway);
        let Tunnel {
            session,
            carrier,
            inner,
            inner_sent,
            ..
        } = tunnel;
        let Ok(mut segments) = Segments::new(read, tun.has_vnet_header) else {
            counters.dropped(DropReason::BadPacket);
            return;
        };
        let mut signal = CongestionSignal::new(&link.quic, &mut link.signals_sent);
        let codec = &carrier.codec;
        let mut outlet = QuicCarrier::new(&mut link.quic, codec, arena, link.backlog);
        let limit = session.packet_limit(outlet.datagram_limit());
        while let Some(packet) = segments.next() {
            match InnerPacket::parse(packet) {
                Ok(parsed) if parsed.source() == *inner => {}
                Ok(_) => {
                    counters.dropped(DropReason::SrcMismatch);
                    continue;
                }
                Err(_) => {
                    counters.dropped(DropReason::BadPacket);
                    continue;
                }
            }
            if signal.drops(packet, counters) {
                continue;
            }
            clamp_mss(packet, limit);
            if packet.len() > usize::from(session.mtu) {
                let mut answer = [0; ICMP_BUFFER];
                let carries = session
                    .mtu
                    .saturating_sub(qdt_proto::datagram::OVERHEAD as u16);
                if let Some(len) = icmp_packet_too_big(packet, carries, gateway, &mut answer) {
                    counters.dropped(DropReason::DatagramOversize);
                    tun.put(&answer[..len], counters);
                    continue;
                }
            }
            match session.send_packet(&mut outlet, counters, packet, limit) {
                Ok(()) => {
                    *inner_sent += 1;
                    counters.packet(Direction::In, packet.len());
                }
                Err(reason) => counters.dropped(reason),
            }
        }
    }

    /// Looks at the connection that carries the tunnel, reports what changed, sends the probe that
    /// is due.
    pub(super) fn look(&mut self, now: Instant, link: &mut Link<Attempt>) {
        let attempt = link.app.id;
        let Phase::Established(key, watch) = &mut link.app.phase else {
            return;
        };
        let Some(tunnel) = self.tunnels.get_mut(*key) else {
            return;
        };
        tunnel.session.expire(now);
        let stats = link.quic.stats();
        let seen = Seen {
            received: stats.udp_rx.datagrams,
            acknowledged: stats.frame_rx.acks,
            sent: stats.frame_tx.datagram + stats.frame_tx.ping + stats.frame_tx.stream,
            inner_received: tunnel.inner_received,
            inner_sent: tunnel.inner_sent,
            lost: stats.path.lost_packets,
            rtt: stats.path.rtt,
        };
        let (verdict, probe, next) = watch.look(now, seen);
        link.wake_at(next);
        if let Some(probe) = probe {
            let Self { arena, started, .. } = self;
            send_probe(
                tunnel,
                link,
                arena,
                now.saturating_duration_since(*started),
                probe,
            );
        }
        match verdict {
            Some(Verdict::Suspect) => self.report(ClientEvent::Suspect { attempt }),
            Some(Verdict::Recovered) => self.report(ClientEvent::Recovered { attempt }),
            Some(Verdict::PathTooSmall) => self.report(ClientEvent::PathTooSmall { attempt }),
            None => {}
        }
    }
}

/// Sends a probe, which says that it left `since_start` after the client's start.
fn send_probe(
    tunnel: &mut Tunnel,
    link: &mut Link<Attempt>,
    arena: &mut Arena,
    since_start: Duration,
    probe: Probe,
) {
    let Tunnel {
        session,
        carrier,
        inner,
        gateway,
        ..
    } = tunnel;
    let codec = &carrier.codec;
    let mut outlet = QuicCarrier::new(&mut link.quic, codec, arena, link.backlog);
    // A probe that finds no room counts as lost, which is what it would say about the path.
    let _ = match probe {
        Probe::Ping => {
            link.quic.ping();
            Ok(())
        }
        Probe::PaddedPing => {
            let limit = session.packet_limit(outlet.datagram_limit());
            let len = limit.clamp(SHORT_PING, MAX_PING);
            let mut payload = [0; MAX_PING];
            let micros = since_start.as_micros() as u64;
            payload[..SHORT_PING].copy_from_slice(&micros.to_be_bytes());
            session.send_message(&mut outlet, MessageType::Ping, &payload[..len])
        }
        Probe::Echo(sequence) => {
            let mut packet = [0; ECHO_LEN];
            echo_request(*inner, *gateway, ECHO_IDENTIFIER, sequence, &mut packet);
            session.send_message(&mut outlet, MessageType::Data, &packet)
        }
    };
}
