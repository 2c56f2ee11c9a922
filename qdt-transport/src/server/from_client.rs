//! A packet's way up: QUIC datagram, opened into the TUN's super-packet, checked, on to the kernel.
//!
//! Nothing reaches the TUN whose source is not the session's own address or whose lengths lie.
//! Every datagram is charged to the session's limits, whatever is in it. A drop has one reason and
//! is counted here.

use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use qdt_proto::datagram::{Header, MessageType, OVERHEAD};
use qdt_proto::handshake::Capability;
use qdt_proto::http3::code;
use qdt_proto::packet::{InnerPacket, VnetHeader, clamp_mss};

use super::admission::Admission;
use super::app::{Client, ServerApp, Shared};
use super::sessions::Served;
use crate::carrier::QuicCarrier;
use crate::counters::{Direction, DropReason};
use crate::engine::Link;
use crate::http3_streams::error_code;
use crate::session::Arrival;

/// The header of a packet that needs nothing done to it.
const NO_OFFLOAD: [u8; VnetHeader::LEN] = [0; VnetHeader::LEN];
/// The longest ping that is answered: a padded probe of the whole path.
const MAX_PING: usize = 1500;

impl<A: Admission> ServerApp<A> {
    /// Opens and delivers every datagram that waits on a connection.
    pub(super) fn receive_from_client(
        &mut self,
        now: Instant,
        link: &mut Link<Client<A::Reservation>>,
    ) {
        let mut expiry = None;
        let session = link.app.session;
        let mut served = session.and_then(|key| self.sessions.get_mut(key));
        while let Some(datagram) = link.quic.datagrams().recv() {
            let Some(served) = served.as_deref_mut() else {
                self.counters.dropped(DropReason::NoSession);
                continue;
            };
            let charged = served.strip_and_charge(&datagram, now);
            let sealed = match charged {
                Ok(sealed) => sealed,
                Err(reason) => {
                    self.counters.dropped(reason);
                    continue;
                }
            };
            let codec = &served.carrier.codec;
            let limit = served
                .session
                .packet_limit(codec.datagram_limit(&mut link.quic));
            let slot = self.tun.out.slot(sealed.len().saturating_sub(OVERHEAD));
            let outcome = match served.session.open(now, sealed, slot) {
                Ok(Arrival::InSlot(len)) => judge(&self.shared, served, &mut slot[..len], limit)
                    .map(|way| Some((way, &slot[..len]))),
                Ok(Arrival::Whole(packet)) => {
                    self.counters.fragment_in();
                    let len = packet.len();
                    let slot = self.tun.out.slot(len);
                    slot.copy_from_slice(packet);
                    if served.from_client.take(now) {
                        judge(&self.shared, served, slot, limit).map(|way| Some((way, &*slot)))
                    } else {
                        Err(DropReason::RateIn)
                    }
                }
                Ok(Arrival::Fragment) => {
                    self.counters.fragment_in();
                    expiry = served.session.next_expiry();
                    Ok(None)
                }
                Ok(Arrival::Ping(len)) => {
                    let mut payload = [0; MAX_PING];
                    let len = len.min(MAX_PING);
                    payload[..len].copy_from_slice(&slot[..len]);
                    if served.session.caps.contains(Capability::Ping)
                        && link.app.uni.peer_takes_datagrams
                    {
                        // A pong that finds no room is one that a lossy path could have lost.
                        let _ = served.session.send_message(
                            &mut QuicCarrier::new(
                                &mut link.quic,
                                codec,
                                &mut self.arena,
                                link.backlog,
                            ),
                            MessageType::Pong,
                            &payload[..len],
                        );
                    }
                    Ok(None)
                }
                Ok(Arrival::Pong(_)) => Ok(None),
                Ok(Arrival::Close) => {
                    link.quic.close(
                        now,
                        error_code(code::H3_NO_ERROR),
                        Bytes::from_static(b"closed by the client"),
                    );
                    Ok(None)
                }
                Err(reason) => Err(reason),
            };
            match outcome {
                Ok(Some((Way::Kernel, packet))) => {
                    let len = packet.len();
                    self.counters.packet(Direction::In, len);
                    served.counters.packet(Direction::In, len);
                    self.tun.commit(len, &self.counters);
                }
                Ok(Some((Way::Client, packet))) => {
                    self.counters.packet(Direction::In, packet.len());
                    served.counters.packet(Direction::In, packet.len());
                    let header: &[u8] = if self.tun.has_vnet_header {
                        &NO_OFFLOAD
                    } else {
                        &[]
                    };
                    self.sideways.push(&[header, packet]);
                    self.tun.out.abandon();
                }
                Ok(None) => self.tun.out.abandon(),
                Err(reason) => {
                    self.tun.out.abandon();
                    self.counters.dropped(reason);
                }
            }
        }
        if let Some(at) = expiry {
            link.wake_at(at);
        }
    }
}

impl Served {
    /// The part of an HTTP datagram that is this session's, charged to the bucket of what it claims
    /// to be before it costs more than that: opening it, and what follows.
    fn strip_and_charge<'d>(
        &self,
        datagram: &'d [u8],
        now: Instant,
    ) -> Result<&'d [u8], DropReason> {
        let stripped = self.session.strip(&self.carrier.codec, datagram);
        // Both buckets have one rate.
        if self.upkeep.is_off() {
            return stripped;
        }
        let within = match stripped.ok().and_then(claimed_type) {
            Some(MessageType::Data) => self.from_client.take(now),
            Some(MessageType::Fragment) => self.upkeep.take_fragment(now),
            _ => self.upkeep.take(now),
        };
        if within {
            stripped
        } else {
            Err(DropReason::RateIn)
        }
    }
}

/// What a datagram says it carries. Where that is not true it does not open.
fn claimed_type(sealed: &[u8]) -> Option<MessageType> {
    let header = Header::parse(sealed).ok()?;
    MessageType::from_wire(header.kind)
}

/// Where a packet goes that may pass.
enum Way {
    /// To the TUN.
    Kernel,
    /// To another client, without a detour through the kernel: it works whether or not the host
    /// forwards.
    Client,
}

/// Whether `destination` means something on the server's host and its links only: a link-local
/// address, where clouds serve the host's credentials, or a loopback address. Decided here and not
/// by firewall rules, so that it holds with and without NAT, for addresses of the host itself too.
const fn stays_on_host(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

/// Whether a packet may pass, and where to; clamps the MSS of one that does.
fn judge(
    shared: &Shared,
    served: &Served,
    packet: &mut [u8],
    limit: usize,
) -> Result<Way, DropReason> {
    let parsed = InnerPacket::parse(packet).map_err(|_| DropReason::BadPacket)?;
    if parsed.source() != served.inner {
        return Err(DropReason::SrcMismatch);
    }
    let destination = parsed.destination();
    let to_a_client = destination != shared.gateway && shared.pool.index(destination).is_some();
    if to_a_client && !shared.client_to_client {
        return Err(DropReason::ClientToClient);
    }
    if stays_on_host(destination)
        && !to_a_client
        && destination != shared.gateway
        && !shared.forward_link_local.contains(&destination)
    {
        return Err(DropReason::LinkLocal);
    }
    clamp_mss(packet, limit);
    Ok(if to_a_client {
        Way::Client
    } else {
        Way::Kernel
    })
}
