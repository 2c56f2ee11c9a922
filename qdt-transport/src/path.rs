//! The size of a connection's QUIC packets, and its QUIC settings.
//!
//! A connection is dialled with a packet size and keeps it: initial and minimum MTU are equal.
//! QUIC's black-hole detector takes random loss for a smaller path and would fall back to 1200
//! bytes, where every full inner packet needs two datagrams. Instead client and server pad their
//! Initial packets to the size (RFC 9000 section 14.1), so a completed handshake proves that the
//! path carries it both ways. Padded probes (RFC 8899) detect a path that shrinks later, and the
//! session then moves to a connection dialled with a smaller size.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::{IdleTimeout, TransportConfig, VarInt};

use crate::queue::UncontrolledFactory;

/// The QUIC packet that every path carries (RFC 9000 section 14).
pub(crate) const BASE_PACKET: u16 = 1200;
/// The initial packet of quic-go; with an IPv6 or IPv4 header it fits every usual link.
pub(crate) const MIDDLE_PACKET: u16 = 1280;
/// The largest UDP payload of an Ethernet path with IPv4 (1500 - 20 - 8).
const ETHERNET_V4: u16 = 1472;
/// The same with IPv6 (1500 - 40 - 8), rounded down to 1200 plus whole [`STEP`]s.
const ETHERNET_V6: u16 = 1448;
/// Sizes are 1200 plus a multiple of this, so that both ends arrive at the same one and a peer
/// cannot make a server keep settings for every byte.
const STEP: u16 = 8;
/// The most that QUIC adds around a datagram: short header with an 8-byte id and a 4-byte packet
/// number, the AEAD tag, the DATAGRAM frame's type and its length as the longest varint.
/// quinn-proto counts the same (`Datagrams::max_size`); a peer may choose ids of up to 20 bytes.
const QUIC_OVERHEAD: u16 = 1 + 8 + 4 + 16 + 1 + 8;
/// The quarter stream id of the first request stream.
const QUARTER_STREAM_ID: u16 = 1;
/// The idle timeout of both ends, as in the Go programs.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The packet size of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacketSize {
    /// 1200 bytes: what every path carries.
    Base,
    /// 1280 bytes: the initial size of quic-go.
    Middle,
    /// The size for one datagram of the whole tunnel MTU, up to that of an Ethernet path.
    Full,
}

impl PacketSize {
    /// Returns the UDP payload in bytes for a tunnel of `mtu` bytes over IPv6 or IPv4.
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

/// Returns the packet size that a first Initial of `len` bytes has proven, for the server's answer.
pub(crate) fn proven_size(len: usize) -> u16 {
    let len = u16::try_from(len)
        .unwrap_or(ETHERNET_V4)
        .clamp(BASE_PACKET, ETHERNET_V4);
    len - (len - BASE_PACKET) % STEP
}

/// Bounds on a connection's queues and silence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// The idle timeout.
    pub(crate) idle: Duration,
    /// The most bytes of outgoing datagrams that wait for the socket.
    pub(crate) send: usize,
    /// The most bytes of received datagrams; the worker reads them in the same turn.
    pub(crate) receive: usize,
}

/// The most unread bytes on a stream: a request's head with long headers, or its whole body.
const STREAM_WINDOW: u32 = 16 << 10;
/// The most unread bytes on all streams. Data in order is read at once, so this bounds data behind
/// gaps, of which a tunnel has next to none.
const CONNECTION_WINDOW: u32 = 2 * STREAM_WINDOW;

/// Returns the QUIC settings of one side of a connection with packets of `size` bytes.
pub(crate) fn transport_config(
    size: u16,
    limits: ConnectionLimits,
    is_client: bool,
) -> Arc<TransportConfig> {
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
        // The client sends keep-alives itself, depending on the kind of server.
        .keep_alive_interval(None)
        .datagram_send_buffer_size(limits.send)
        .datagram_receive_buffer_size(Some(limits.receive))
        .congestion_controller_factory(Arc::new(UncontrolledFactory));
    if is_client {
        // A lost first packet is retransmitted after two of these; the default of a third of a
        // second delays every reconnect over a lossy path.
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
            assert_eq!(proven_size(size.into()), size, "both ends agree");
        }
    }

    #[test]
    fn packets_fit_an_ethernet_path() {
        assert_eq!(PacketSize::Full.bytes(9000, false), 1472);
        assert_eq!(PacketSize::Full.bytes(9000, true), 1448);
        assert_eq!(PacketSize::Full.bytes(576, true), 1280);
    }

    #[test]
    fn a_server_answers_in_the_size_that_the_first_packet_proved_and_at_least_1200() {
        assert_eq!(proven_size(1200), 1200);
        assert_eq!(proven_size(1280), 1280);
        assert_eq!(proven_size(1399), 1392);
        assert_eq!(proven_size(60_000), 1472);
        assert_eq!(proven_size(10), 1200);
    }
}
