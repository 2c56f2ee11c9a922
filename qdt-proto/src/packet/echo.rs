//! ICMP echo (RFC 792) over IPv4: the probe of whether the far end of a tunnel is still alive.
//!
//! The packets are complete and without payload; the identifier tells answers to this sender's
//! requests from those to another ping.

use std::net::IpAddr;

use super::{ICMP, IPV4_HEADER, Ipv4Packet, Sum, be16, put16};

/// Length in bytes of an echo packet: an IPv4 header and eight bytes of ICMP.
pub const ECHO_LEN: usize = IPV4_HEADER + 8;

const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

/// Writes an echo request to `out` and returns its length, [`ECHO_LEN`]; `None` when `out` is
/// shorter, or an address is not IPv4.
pub fn echo_request(
    source: IpAddr,
    destination: IpAddr,
    identifier: u16,
    sequence: u16,
    out: &mut [u8],
) -> Option<usize> {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) else {
        return None;
    };
    let out = out.get_mut(..ECHO_LEN)?;
    out.fill(0);
    out[0] = 0x45;
    put16(out, 2, ECHO_LEN as u16);
    out[6] = 0x40; // an atomic datagram needs no identification (RFC 6864 section 4.1)
    out[8] = 64;
    out[9] = ICMP;
    out[12..16].copy_from_slice(&source.octets());
    out[16..20].copy_from_slice(&destination.octets());
    let checksum = Sum::of(&out[..IPV4_HEADER]).checksum();
    put16(out, 10, checksum);
    let icmp = &mut out[IPV4_HEADER..];
    icmp[0] = ECHO_REQUEST;
    put16(icmp, 4, identifier);
    put16(icmp, 6, sequence);
    let checksum = Sum::of(icmp).checksum();
    put16(icmp, 2, checksum);
    Some(ECHO_LEN)
}

/// The sequence number of `packet`, if it is a valid, unfragmented echo reply that carries
/// `identifier`.
#[must_use]
pub fn echo_reply_sequence(packet: &[u8], identifier: u16) -> Option<u16> {
    let icmp = echo_reply(packet)?;
    (be16(icmp, 4) == identifier).then(|| be16(icmp, 6))
}

/// The ICMP message of `packet`, if it is a whole, valid echo reply.
fn echo_reply(packet: &[u8]) -> Option<&[u8]> {
    Ipv4Packet::parse(packet)
        .ok()
        .filter(|valid| valid.protocol() == ICMP)?;
    let at = usize::from(packet[0] & 0x0f) * 4;
    let icmp = packet.get(at..).filter(|icmp| icmp.len() >= 8)?;
    let whole = be16(packet, 6) & 0x3fff == 0;
    let valid = icmp[0] == ECHO_REPLY && icmp[1] == 0 && Sum::of(icmp).fold() == 0xffff;
    (whole && valid).then_some(icmp)
}
