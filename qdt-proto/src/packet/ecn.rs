//! Explicit congestion notification (RFC 3168) on inner packets, and which packets may be lost to
//! say the same.
//!
//! The tunnel marks an inner packet where a router would mark it in its queue; outer packets are
//! sent Not-ECT, so there is nothing to copy between the headers (RFC 6040 section 4.1,
//! "compatibility mode").

use super::upper_layer::upper_layer;
use super::{
    ICMP, ICMPV6, IPV4_HEADER, IPV6_HEADER, TCP, TCP_HEADER, be16, put16, update_checksum,
};

/// The two ECN bits: Not-ECT is 00, "congestion experienced" both (RFC 3168 section 5).
const ECN: u8 = 0b11;
/// FIN, SYN and RST.
const TCP_CONTROL: u8 = 0x07;
/// Packets up to this length are not worth their loss: acknowledgements, queries, keystrokes,
/// speech.
const SMALL: usize = 200;

/// Whether a packet's connection understands marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// The packet now says "congestion experienced", or said so before.
    Marked,
    /// The sender understands no marks (Not-ECT), or this is no IP packet: nothing was changed.
    NotCapable,
}

/// Marks `packet`, one whole IP packet, with "congestion experienced" if its sender understands
/// that.
///
/// The checksum of an IPv4 header is updated by RFC 1624, so that a wrong one stays wrong; no other
/// checksum covers these bits.
pub fn mark_congestion(packet: &mut [u8]) -> Ecn {
    match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= IPV4_HEADER && packet[1] & ECN != 0 => {
            let old = be16(packet, 0);
            packet[1] |= ECN;
            let checksum = update_checksum(be16(packet, 10), old, be16(packet, 0));
            put16(packet, 10, checksum);
            Ecn::Marked
        }
        // The traffic class lies across the first two bytes (RFC 8200 section 3).
        Some(6) if packet.len() >= IPV6_HEADER && packet[1] >> 4 & ECN != 0 => {
            packet[1] |= ECN << 4;
            Ecn::Marked
        }
        _ => Ecn::NotCapable,
    }
}

/// Whether `packet`, one whole IP packet, may be dropped to tell its sender of congestion.
///
/// Small packets, ICMP, and TCP segments that open or close a connection may not: their loss costs
/// a time-out and shortens no queue.
#[must_use]
pub fn is_drop_eligible(packet: &[u8]) -> bool {
    if packet.len() <= SMALL {
        return false;
    }
    let Some(upper) = upper_layer(packet) else {
        return true;
    };
    match upper.protocol {
        ICMP | ICMPV6 => false,
        TCP if !upper.continuation && packet.len() >= upper.offset + TCP_HEADER => {
            packet[upper.offset + 13] & TCP_CONTROL == 0
        }
        _ => true,
    }
}
