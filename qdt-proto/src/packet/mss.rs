//! The MSS clamp: a TCP handshake that crosses the tunnel agrees on segments that fit one datagram.
//!
//! Without it a peer whose device has a larger MTU than the tunnel carries sends full segments that
//! must be fragmented or refused. Only SYN segments are touched, and an MSS is only ever lowered.

use super::upper_layer::upper_layer;
use super::{IPV4_HEADER, IPV6_HEADER, TCP, TCP_HEADER, be16, put16, update_checksum};

const SYN: u8 = 0x02;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_MSS: u8 = 2;
const OPTION_MSS_LEN: usize = 4;

/// Lowers the MSS option of a SYN or SYN-ACK so that a full segment is an IP packet of at most
/// `max_packet` bytes; returns whether anything was changed.
///
/// `packet` is one IP packet with a complete checksum (what [`Segments`](super::Segments) hands
/// out): the checksum is updated by RFC 1624, so that a wrong one stays wrong. The MSS counts
/// neither IP nor TCP options (RFC 9293 section 3.7.1). Anything that is not a SYN with an MSS
/// option stays as it is.
pub fn clamp_mss(packet: &mut [u8], max_packet: usize) -> bool {
    let Some(upper) = upper_layer(packet) else {
        return false;
    };
    if upper.protocol != TCP || upper.continuation || packet.len() < upper.offset + TCP_HEADER {
        return false;
    }
    let ip_header = if packet[0] >> 4 == 4 {
        IPV4_HEADER
    } else {
        IPV6_HEADER
    };
    let Some(limit) = max_packet
        .checked_sub(ip_header + TCP_HEADER)
        .filter(|&limit| limit > 0)
    else {
        return false;
    };
    let tcp = &mut packet[upper.offset..];
    let header_len = usize::from(tcp[12] >> 4) * 4;
    if tcp[13] & SYN == 0 || header_len < TCP_HEADER || tcp.len() < header_len {
        return false;
    }
    let Some(at) = mss_option(&tcp[..header_len]) else {
        return false;
    };
    let old = be16(tcp, at);
    if usize::from(old) <= limit {
        return false;
    }
    let new = limit as u16; // below `old`, so it fits
    put16(tcp, at, new);
    // An option may begin at an odd offset; then its two bytes lie in the other halves of two
    // words.
    let (old, new) = if at % 2 == 0 {
        (old, new)
    } else {
        (old.swap_bytes(), new.swap_bytes())
    };
    let checksum = update_checksum(be16(tcp, 16), old, new);
    put16(tcp, 16, checksum);
    true
}

/// Where in `header` the value of the MSS option stands.
fn mss_option(header: &[u8]) -> Option<usize> {
    let mut at = TCP_HEADER;
    loop {
        match *header.get(at)? {
            OPTION_END => return None,
            OPTION_NOP => at += 1,
            kind => {
                let length = usize::from(*header.get(at + 1)?);
                if length < 2 || at + length > header.len() {
                    return None;
                }
                if kind == OPTION_MSS && length == OPTION_MSS_LEN {
                    return Some(at + 2);
                }
                at += length;
            }
        }
    }
}
