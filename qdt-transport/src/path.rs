//! How large the QUIC packets of a connection are, and the QUIC settings that follow.
//!
//! A connection is dialled with a packet size that it keeps: its initial and its minimum MTU are
//! the same. QUIC's own black-hole detector takes random loss for a shrunken path and would fall
//! back to 1200 bytes, where every full inner packet needs two datagrams. Here the size is proven
//! instead: client and server pad their Initial packets to it (RFC 9000 section 14.1), so a
//! handshake that completes has shown that the path carries it both ways. A path that shrinks later
//! is found by padded probes (RFC 8899), and the session then moves to a connection dialled with a
//! smaller size.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::{IdleTimeout, TransportConfig, VarInt};

use crate::queue::UncontrolledFactory;

/// The smallest QUIC packet every path must carry (RFC 9000 section 14).
pub(crate) const BASE_PACKET: u16 = 1200;
/// What quic-go starts with; with an IPv6 or IPv4 header it fits every usual link.
pub(crate) const MIDDLE_PACKET: u16 = 1280;
/// The largest UDP payload of an Ethernet path with IPv4 (1500 - 20 - 8).
const ETHERNET_V4: u16 = 1472;
/// The same with IPv6 (1500 - 40 - 8), down to a whole [`STEP`] above 1200.
const ETHERNET_V6: u16 = 1448;
/// Sizes are 1200 plus a multiple of this, so that both ends of a connection arrive at the same one
/// and a peer cannot make a server keep settings for every byte.
const STEP: u16 = 8;
/// What QUIC adds around a datagram at most: short header with an 8-byte id and a 4-byte packet
/// number, the AEAD tag, the DATAGRAM frame's type and its length as the largest varint;
/// quinn-proto counts the same (`Datagrams::max_size`), and a peer may choose ids of up to 20
/// bytes.
const QUIC_OVERHEAD: u16 = 1 + 8 + 4 + 16 + 1 + 8;
/// The quarter stream id of the first request stream.
const QUARTER_STREAM_ID: u16 = 1;
/// Both ends give a silent connection up after this time (the Go programs' value).
pub(crate) const IDLE: Duration = Duration::from_secs(30);

/// Which packet size a connection is dialled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacketSize {
    /// 1200 bytes: what every path carries.
    Base,
    /// 1280 bytes: what quic-go begins with.
    Middle,
    /// What one datagram of the whole tunnel MTU needs, as far as an Ethernet path carries it.
    Full,
}

impl PacketSize {
    /// The UDP payload in bytes for a tunnel of `mtu` bytes over IPv6 or IPv4.
    #[must_use]
    pub fn bytes(self, mtu: u16, over_ipv6: bool) -> u16 {
        match self {
            Self::Base => BASE_PACKET,
            Self::Middle => MIDDLE_PACKET,
            Self::Full => {
                let largest = if over_ipv6 { ETHERNET_V6 } else { ETHERNET_V4 };
                let needed = mtu
                    .saturating_add(QUARTER_STREAM_ID + QUIC_OVERHEAD)
                    .min(largest);
                let steps = needed.saturating_sub(BASE_PACKET).div_ceil(STEP);
                (BASE_PACKET + steps * STEP).max(MIDDLE_PACKET)
            }
        }
    }
}

/// The size a server answers a first Initial of `len` bytes with: what has just been proven toward
/// it.
pub(crate) fn answering_size(len: usize) -> u16 {
    let len = u16::try_from(len)
        .unwrap_or(ETHERNET_V4)
        .clamp(BASE_PACKET, ETHERNET_V4);
    len - (len - BASE_PACKET) % STEP
}

/// What a connection may queue and hold, and how long it may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Silence after which the connection is over.
    pub(crate) idle: Duration,
    /// Outgoing datagrams that the socket did not take yet.
    pub(crate) send: usize,
    /// Datagrams received and not yet read; the worker reads them in the same turn.
    pub(crate) receive: usize,
}

/// What may wait unread on a stream: a request's head, with room for long headers, or its whole
/// body.
const STREAM_WINDOW: u32 = 16 << 10;
/// What may wait unread on all streams of a connection. What comes in order is read at once, so
/// this is for data with gaps before it; a tunnel has none to speak of.
const CONNECTION_WINDOW: u32 = 2 * STREAM_WINDOW;

/// The QUIC settings of one side of a connection with packets of `size` bytes.
pub(crate) fn transport(size: u16, limits: Limits, is_client: bool) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .initial_mtu(size)
        .min_mtu(size)
        .mtu_discovery_config(None)
        .max_concurrent_bidi_streams(VarInt::from_u32(if is_client { 0 } else { 32 }))
        .max_concurrent_uni_streams(VarInt::from_u32(32))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(64 << 10)
        .crypto_buffer_size(16 << 10)
        .max_idle_timeout(Some(
            IdleTimeout::try_from(limits.idle).expect("at most 30 s, which fits a varint"),
        ))
        // What keeps a silent connection alive is the client's own business, which depends on the
        // server's kind.
        .keep_alive_interval(None)
        .datagram_send_buffer_size(limits.send)
        .datagram_receive_buffer_size(Some(limits.receive))
        .congestion_controller_factory(Arc::new(UncontrolledFactory));
    if is_client {
        // A lost first packet is sent again after two of these; the usual third of a second would
        // make every reconnect over a lossy path a matter of seconds.
        config.initial_rtt(Duration::from_millis(100));
    }
    Arc::new(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_packet_carries_a_datagram_of_the_whole_mtu() {
        assert_eq!(PacketSize::Full.bytes(1350, false), 1392);
        assert_eq!(PacketSize::Full.bytes(1350, true), 1392);
        for mtu in 576..=1350 {
            let size = PacketSize::Full.bytes(mtu, false);
            assert!(size >= mtu + QUARTER_STREAM_ID + QUIC_OVERHEAD);
            assert_eq!(answering_size(size.into()), size, "both ends agree");
        }
    }

    #[test]
    fn no_packet_is_larger_than_an_ethernet_path_carries() {
        assert_eq!(PacketSize::Full.bytes(9000, false), 1472);
        assert_eq!(PacketSize::Full.bytes(9000, true), 1448);
        assert_eq!(PacketSize::Full.bytes(576, true), 1280);
    }

    #[test]
    fn a_server_answers_with_what_the_first_packet_proved_and_never_less_than_1200() {
        assert_eq!(answering_size(1200), 1200);
        assert_eq!(answering_size(1280), 1280);
        assert_eq!(answering_size(1399), 1392);
        assert_eq!(answering_size(60_000), 1472);
        assert_eq!(answering_size(10), 1200);
    }
}
