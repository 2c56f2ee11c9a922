//! Where the upper layer of an IP packet begins: after the IPv4 options or the IPv6 extension
//! headers.
//!
//! Offsets handed out here always lie inside the packet or at its end.

use super::{IPV4_HEADER, IPV6_HEADER};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// More extension headers than RFC 8200 section 4.1 has places for; a longer chain is not followed.
const MAX_EXTENSION_HEADERS: usize = 8;

/// The upper layer of one IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpperLayer {
    /// Protocol number, as in the IPv4 header or the last extension header.
    pub(crate) protocol: u8,
    /// Where it begins, in bytes from the start of the packet.
    pub(crate) offset: usize,
    /// The packet is one fragment of a larger one.
    pub(crate) fragmented: bool,
    /// The packet is a fragment other than the first: no upper-layer header is in it.
    pub(crate) continuation: bool,
}

/// Finds the upper layer of `packet`; `None` where the headers are cut off or make no sense.
pub(crate) fn upper_layer(packet: &[u8]) -> Option<UpperLayer> {
    match packet.first()? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => None,
    }
}

fn ipv4(packet: &[u8]) -> Option<UpperLayer> {
    let offset = usize::from(packet[0] & 0x0f) * 4;
    if offset < IPV4_HEADER || packet.len() < offset {
        return None;
    }
    let fragment = super::be16(packet, 6);
    Some(UpperLayer {
        protocol: packet[9],
        offset,
        fragmented: fragment & 0x3fff != 0,
        continuation: fragment & 0x1fff != 0,
    })
}

fn ipv6(packet: &[u8]) -> Option<UpperLayer> {
    if packet.len() < IPV6_HEADER {
        return None;
    }
    let mut found = UpperLayer {
        protocol: packet[6],
        offset: IPV6_HEADER,
        fragmented: false,
        continuation: false,
    };
    for _ in 0..MAX_EXTENSION_HEADERS {
        let header = &packet[found.offset..];
        let length = match found.protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => (usize::from(*header.get(1)?) + 1) * 8,
            // RFC 4302 section 2.2: in 4-byte units, minus 2.
            AUTHENTICATION => (usize::from(*header.get(1)?) + 2) * 4,
            FRAGMENT => 8,
            _ => return Some(found),
        };
        if header.len() < length {
            return None;
        }
        if found.protocol == FRAGMENT {
            let fragment = super::be16(header, 2);
            // A fragment header with offset 0 and nothing to follow is an atomic fragment (RFC
            // 6946).
            found.fragmented |= fragment & 0xfff9 != 0;
            found.continuation |= fragment & 0xfff8 != 0;
        }
        found.protocol = header[0];
        found.offset += length;
        if found.continuation {
            return Some(found);
        }
    }
    None
}
