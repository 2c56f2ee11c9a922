//! Inner packets: the IP packets that travel inside the tunnel, as the packet path sees them.
//!
//! Downward a read from the TUN device is one packet or one super-packet; [`Segments`] turns it
//! into packets that fit a datagram, in the read buffer itself. Upward opened packets are joined by
//! [`Coalescer`] into super-packets for the TUN device. Between them stand the validated view
//! ([`InnerPacket`]), the MSS clamp that keeps TCP from ever needing fragments, the ICMP answer to
//! a packet that is too big, the ECN congestion mark, and the ICMP echo that probes
//! whether a gateway is alive.
//!
//! Invariants: nothing allocates after construction, nothing panics on any bytes, and
//! no packet whose checksum is wrong ever leaves with a right one.

mod addresses;
mod checksum;
mod coalescer;
mod echo;
mod ecn;
mod gro;
mod gso;
mod inner;
mod mss;
mod segments;
mod too_big;
mod upper_layer;
mod vnet;

pub use addresses::{Ipv4Addresses, ipv4_addresses};
pub use checksum::{Sum, update_checksum};
pub use coalescer::{Coalescer, MAX_PACKET};
pub use echo::{ECHO_LEN, echo_reply_sequence, echo_request};
pub use ecn::{Ecn, is_drop_eligible, mark_congestion};
pub use gso::SegmentError;
pub use inner::{InnerError, InnerPacket, Ipv4Packet, Ipv6Packet};
pub use mss::clamp_mss;
pub use segments::Segments;
pub use too_big::icmp_packet_too_big;
pub use vnet::{GsoKind, Offload, VnetError, VnetHeader};

/// Protocol number of ICMP (RFC 792).
pub(crate) const ICMP: u8 = 1;
/// Protocol number of TCP (RFC 9293).
pub(crate) const TCP: u8 = 6;
/// Protocol number of UDP (RFC 768).
pub(crate) const UDP: u8 = 17;
/// Next-header number of ICMPv6 (RFC 4443).
pub(crate) const ICMPV6: u8 = 58;

/// Length of an IPv4 header without options.
pub(crate) const IPV4_HEADER: usize = 20;
/// Length of the fixed IPv6 header.
pub(crate) const IPV6_HEADER: usize = 40;
/// Length of a TCP header without options.
pub(crate) const TCP_HEADER: usize = 20;
/// Length of a UDP header.
pub(crate) const UDP_HEADER: usize = 8;

/// The big-endian 16-bit field at `at`. The caller has checked that it lies inside `bytes`.
#[inline(always)]
pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The big-endian 32-bit field at `at`. The caller has checked that it lies inside `bytes`.
#[inline(always)]
pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes the big-endian 16-bit field at `at`. The caller has checked that it lies inside `bytes`.
#[inline(always)]
pub(crate) fn put16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
