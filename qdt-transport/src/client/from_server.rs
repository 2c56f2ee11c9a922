//! A packet's way in: QUIC datagram, opened into the TUN's super-packet, checked, on to the kernel;
//! and the answers to the client's own probes, which go no further.

use std::net::Ipv4Addr;
use std::time::Instant;

use bytes::Bytes;
use qdt_proto::datagram::OVERHEAD;
use qdt_proto::http3::code;
use qdt_proto::packet::{InnerPacket, clamp_mss, echo_reply_sequence};

use super::app::{Attempt, ClientApp, Phase};
use super::to_server::{ECHO_IDENTIFIER, SHORT_PING};
use super::tunnels::Tunnel;
use super::watch::Watch;
use crate::counters::{Direction, DropReason};
use crate::engine::Link;
use crate::http3_streams::error_code;
use crate::session::Arrival;

/// What becomes of an inner packet.
enum Way {
    ToTun,
    /// An answer to our own echo request.
    Ours,
}

impl ClientApp {
    /// Opens and delivers every datagram that waits on a connection, also on one that does not
    /// carry the tunnel (yet, or any more): what was sent on it before a move still arrives.
    pub(super) fn receive_from_server(&mut self, now: Instant, link: &mut Link<Attempt>) {
        let mut established = match &mut link.app.phase {
            Phase::Established(key, watch) => {
                let tunnel = self.tunnels.get_mut(*key);
                tunnel.map(|tunnel| (tunnel, watch))
            }
            _ => None,
        };
        while let Some(datagram) = link.quic.datagrams().recv() {
            let (Some((tunnel, watch)), Some(tun)) = (&mut established, &mut self.tun) else {
                continue;
            };
            let counters = &self.counters;
            let codec = &tunnel.carrier.codec;
            let sealed = match tunnel.session.strip(codec, &datagram) {
                Ok(sealed) => sealed,
                Err(reason) => {
                    counters.dropped(reason);
                    continue;
                }
            };
            let limit = tunnel
                .session
                .packet_limit(codec.datagram_limit(&mut link.quic));
            let Tunnel {
                session,
                inner,
                gateway,
                inner_received,
                ..
            } = &mut **tunnel;
            let mut check = |packet: &mut [u8]| judge(packet, *inner, *gateway, limit, watch);
            let slot = tun.out.slot(sealed.len().saturating_sub(OVERHEAD));
            let outcome = match session.open(now, sealed, slot) {
                Ok(Arrival::InSlot(len)) => check(&mut slot[..len]).map(|way| (way, len)),
                Ok(Arrival::Whole(packet)) => {
                    counters.fragment_in();
                    let len = packet.len();
                    let slot = tun.out.slot(len);
                    slot.copy_from_slice(packet);
                    check(slot).map(|way| (way, len))
                }
                Ok(other) => {
                    match other {
                        Arrival::Fragment => counters.fragment_in(),
                        Arrival::Pong(len) if len > SHORT_PING => watch.path_answered(now),
                        Arrival::Close => link.quic.close(
                            now,
                            error_code(code::H3_NO_ERROR),
                            Bytes::from_static(b"closed by the server"),
                        ),
                        _ => {}
                    }
                    tun.out.abandon();
                    continue;
                }
                Err(reason) => Err(reason),
            };
            match outcome {
                Ok((Way::ToTun, len)) => {
                    *inner_received += 1;
                    counters.packet(Direction::Out, len);
                    tun.commit(len, counters);
                }
                Ok((Way::Ours, _)) => {
                    *inner_received += 1;
                    tun.out.abandon();
                }
                Err(reason) => {
                    tun.out.abandon();
                    counters.dropped(reason);
                }
            }
        }
    }
}

/// Whether a packet may pass, and where to; clamps the MSS of one that does. Nothing passes that is
/// not for this client's own address: a server has no other business on this host.
fn judge(
    packet: &mut [u8],
    inner: Ipv4Addr,
    gateway: Ipv4Addr,
    limit: usize,
    watch: &mut Watch,
) -> Result<Way, DropReason> {
    let parsed = InnerPacket::parse(packet).map_err(|_| DropReason::BadPacket)?;
    if parsed.destination() != inner {
        return Err(DropReason::BadPacket);
    }
    // Any program on this host may use our identifier: only what answers us is kept from it.
    if parsed.source() == gateway
        && echo_reply_sequence(packet, ECHO_IDENTIFIER)
            .is_some_and(|sequence| watch.is_our_reply(sequence))
    {
        return Ok(Way::Ours);
    }
    clamp_mss(packet, limit);
    Ok(Way::ToTun)
}
