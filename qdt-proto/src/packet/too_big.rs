//! The reply to an inner packet larger than the tunnel MTU: ICMP "fragmentation needed" (RFC 792,
//! RFC 1191) and ICMPv6 "packet too big" (RFC 4443).
//!
//! It is never sent in reply to an ICMP error, to a continuation fragment, or toward an address
//! that is not one host (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e): two routers that answer
//! each other's errors never end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::upper_layer::{UpperLayer, upper_layer};
use super::{ICMP, ICMPV6, IPV4_HEADER, IPV6_HEADER, InnerPacket, Sum, be16, put16};

/// Both kinds of message have eight bytes before the quoted packet.
const ICMP_HEADER: usize = 8;
/// An ICMP error quotes as much as fits into 576 bytes (RFC 1812 section 4.3.2.3).
const MAX_ERROR_V4: usize = 576;
/// An ICMPv6 error quotes as much as fits into the least IPv6 MTU (RFC 4443 section 2.4 c).
const MAX_ERROR_V6: usize = 1280;
/// Bytes of the upper layer that must be quoted so that the sender finds its socket (RFC 792).
const MIN_QUOTED: usize = 8;

const DONT_FRAGMENT: u16 = 0x4000;
const INTERNETWORK_CONTROL: u8 = 0xc0;
const HOP_LIMIT: u8 = 64;

/// Writes into `out` the ICMP message that tells the sender of `original` to use packets of at most
/// `mtu` bytes, and returns its length.
///
/// `original` is one whole inner packet; `source` is the address the message comes from (the
/// gateway's, or the tunnel's own end) and must be of the same version. `None` when no such message
/// may be sent: invalid packets, IPv4 without DF (it may be fragmented instead), ICMP errors,
/// continuation fragments, senders or IPv4 receivers that are not one host; and when `out` has no
/// room for the headers and eight quoted bytes.
pub fn icmp_packet_too_big(
    original: &[u8],
    mtu: u16,
    source: IpAddr,
    out: &mut [u8],
) -> Option<usize> {
    let packet = InnerPacket::parse(original).ok()?;
    let upper = upper_layer(original)?;
    if upper.continuation || is_icmp_error(original, &upper) {
        return None;
    }
    match (packet, source) {
        (InnerPacket::V4(packet), IpAddr::V4(source)) => {
            let answerable = is_one_host(packet.source())
                && !packet.destination().is_multicast()
                && !packet.destination().is_broadcast();
            if be16(original, 6) & DONT_FRAGMENT == 0 || !answerable {
                return None;
            }
            write_v4(original, upper.offset, mtu, source, packet.source(), out)
        }
        (InnerPacket::V6(packet), IpAddr::V6(source)) => {
            let sender = packet.source();
            if sender.is_unspecified() || sender.is_multicast() || sender.is_loopback() {
                return None;
            }
            write_v6(original, upper.offset, mtu, source, sender, out)
        }
        _ => None,
    }
}

/// An ICMP message that is itself a report about another packet. One that is too short to tell
/// counts as such.
fn is_icmp_error(packet: &[u8], upper: &UpperLayer) -> bool {
    let kind = packet.get(upper.offset).copied();
    match upper.protocol {
        // Unreachable, source quench, redirect, time exceeded, parameter problem (RFC 1122 section
        // 3.2.2).
        ICMP if packet[0] >> 4 == 4 => matches!(kind, None | Some(3 | 4 | 5 | 11 | 12)),
        // Errors have the high bit clear (RFC 4443 section 2.1); a redirect is answered by none
        // (2.4 e.2).
        ICMPV6 if packet[0] >> 4 == 6 => matches!(kind, None | Some(0..=127 | 137)),
        _ => false,
    }
}

fn is_one_host(address: Ipv4Addr) -> bool {
    let first = address.octets()[0];
    // 0/8 and 127/8 are no senders on a wire, 224/4 and 240/4 are not one host.
    (1..=223).contains(&first) && first != 127
}

/// How many bytes of `original` are quoted, given the limits of the message and of `out`.
fn quoted(original: &[u8], header: usize, before: usize, max: usize, out: usize) -> Option<usize> {
    let length = original
        .len()
        .min(max - before)
        .min(out.checked_sub(before)?);
    (length >= (header + MIN_QUOTED).min(original.len())).then_some(length)
}

fn write_v4(
    original: &[u8],
    header: usize,
    mtu: u16,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    out: &mut [u8],
) -> Option<usize> {
    let before = IPV4_HEADER + ICMP_HEADER;
    let quote = quoted(original, header, before, MAX_ERROR_V4, out.len())?;
    let out = &mut out[..before + quote];
    out[..before].fill(0);
    out[0] = 0x45;
    out[1] = INTERNETWORK_CONTROL; // RFC 1812 section 4.3.2.5
    let total = out.len() as u16;
    put16(out, 2, total);
    put16(out, 6, DONT_FRAGMENT);
    out[8] = HOP_LIMIT;
    out[9] = ICMP;
    out[12..16].copy_from_slice(&source.octets());
    out[16..20].copy_from_slice(&destination.octets());
    let checksum = Sum::of(&out[..IPV4_HEADER]).checksum();
    put16(out, 10, checksum);
    out[before..].copy_from_slice(&original[..quote]);
    let icmp = &mut out[IPV4_HEADER..];
    icmp[0] = 3; // destination unreachable
    icmp[1] = 4; // fragmentation needed and DF set
    put16(icmp, 6, mtu); // RFC 1191 section 4
    let checksum = Sum::of(icmp).checksum();
    put16(icmp, 2, checksum);
    Some(before + quote)
}

fn write_v6(
    original: &[u8],
    header: usize,
    mtu: u16,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    out: &mut [u8],
) -> Option<usize> {
    let before = IPV6_HEADER + ICMP_HEADER;
    // A chain of extension headers may itself be longer than a message can quote.
    let quote = quoted(
        original,
        header.min(IPV6_HEADER),
        before,
        MAX_ERROR_V6,
        out.len(),
    )?;
    let out = &mut out[..before + quote];
    out[..before].fill(0);
    out[0] = 0x60;
    put16(out, 4, (ICMP_HEADER + quote) as u16);
    out[6] = ICMPV6;
    out[7] = HOP_LIMIT;
    out[8..24].copy_from_slice(&source.octets());
    out[24..40].copy_from_slice(&destination.octets());
    out[before..].copy_from_slice(&original[..quote]);
    let pseudo = Sum::pseudo_header(out, ICMPV6, ICMP_HEADER + quote);
    let icmp = &mut out[IPV6_HEADER..];
    icmp[0] = 2; // packet too big
    put16(icmp, 6, mtu); // the low half of the 32-bit MTU
    let checksum = pseudo.plus(Sum::of(icmp)).checksum();
    put16(icmp, 2, checksum);
    Some(before + quote)
}
