//! Which headers a Go peer takes for an inner IPv4 packet, and the two addresses it reads from
//! them.
//!
//! This is the wire-compatible minimum. What goes to the TUN device must pass the stricter
//! [`InnerPacket`](super::InnerPacket) as well.

use std::net::Ipv4Addr;

use super::IPV4_HEADER;

/// Source and destination of an inner IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4Addresses {
    /// The sender inside the tunnel.
    pub source: Ipv4Addr,
    /// The receiver inside the tunnel.
    pub destination: Ipv4Addr,
}

/// Reads the addresses of `packet` as the Go programs do: version 4, a header length of at least 20
/// bytes, and as many bytes as the header length says. The total length is not looked at.
#[inline]
#[must_use]
pub fn ipv4_addresses(packet: &[u8]) -> Option<Ipv4Addresses> {
    let header_len = usize::from(packet.first()? & 0x0f) * 4;
    if packet[0] >> 4 != 4 || header_len < IPV4_HEADER || packet.len() < header_len {
        return None;
    }
    let address =
        |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    Some(Ipv4Addresses {
        source: address(12),
        destination: address(16),
    })
}
