//! The client's probes, sent along the data path.

use std::time::{Duration, Instant};

use qdt_proto::datagram::MessageType;
use qdt_proto::packet::{ECHO_LEN, echo_request};

use super::ClientEvent;
use super::app::{Attempt, ClientApp, Phase};
use super::liveness::{LivenessChange, Probe, Seen};
use super::tunnels::Tunnel;
use crate::arena::Arena;
use crate::carrier::{Carrier, QuicCarrier};
use crate::engine::Link;

/// The identifier of our echo requests: "qd" in ASCII. Other replies reach the host.
pub(super) const ECHO_IDENTIFIER: u16 = 0x7164;
/// The length of an unpadded ping: a timestamp.
pub(super) const SHORT_PING: usize = 8;
/// The longest padded ping.
const MAX_PING: usize = 1500;

impl ClientApp {
    /// Polls the liveness of the connection that carries the tunnel, reports a change and sends the
    /// probe that is due.
    pub(super) fn poll_liveness(&mut self, now: Instant, link: &mut Link<Attempt>) {
        let attempt = link.app.id;
        let Phase::Established(key, liveness) = &mut link.app.phase else {
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
            inner_received: tunnel.inside.received,
            inner_sent: tunnel.inside.sent,
            lost: stats.path.lost_packets,
            rtt: stats.path.rtt,
        };
        let (change, probe, next) = liveness.poll(now, seen);
        link.wake_at(next);
        if let Some(probe) = probe {
            let since_start = now.saturating_duration_since(self.started);
            send_probe(tunnel, link, &mut self.path.arena, since_start, probe);
        }
        match change {
            Some(LivenessChange::Suspect) => self.report(ClientEvent::Suspect { attempt }),
            Some(LivenessChange::Recovered) => self.report(ClientEvent::Recovered { attempt }),
            Some(LivenessChange::PathTooSmall) => {
                self.report(ClientEvent::PathTooSmall { attempt })
            }
            None => {}
        }
    }
}

/// Sends a probe with the timestamp `since_start`.
fn send_probe(
    tunnel: &mut Tunnel,
    link: &mut Link<Attempt>,
    arena: &mut Arena,
    since_start: Duration,
    probe: Probe,
) {
    let (session, inside) = (&mut tunnel.session, &tunnel.inside);
    let codec = &tunnel.carrier.codec;
    let mut carrier = QuicCarrier::new(&mut link.quic, codec, arena, link.backlog);
    // A probe without room counts as lost: the path is congested.
    let _ = match probe {
        Probe::Ping => {
            link.quic.ping();
            Ok(())
        }
        Probe::PaddedPing => {
            let limit = session.packet_limit(carrier.datagram_limit());
            let len = limit.clamp(SHORT_PING, MAX_PING);
            let mut payload = [0; MAX_PING];
            let micros = since_start.as_micros() as u64;
            payload[..SHORT_PING].copy_from_slice(&micros.to_be_bytes());
            session.send_message(&mut carrier, MessageType::Ping, &payload[..len])
        }
        Probe::Echo(sequence) => {
            let mut packet = [0; ECHO_LEN];
            let (from, to) = (inside.address, inside.gateway);
            echo_request(from, to, ECHO_IDENTIFIER, sequence, &mut packet);
            session.send_message(&mut carrier, MessageType::Data, &packet)
        }
    };
}
