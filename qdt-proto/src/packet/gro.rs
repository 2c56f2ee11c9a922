//! Generic receive offload: which packets may become one super-packet.
//!
//! The rule is that of Linux's `inet_gro_receive`, `ipv6_gro_receive`, `tcp_gro_receive` and
//! `udp_gro_receive_segment`, and where those differ from each other the stricter one: packets join
//! only if cutting the super-packet again gives back each of them, byte for byte. The one thing
//! that may differ afterwards is the identification of atomic IPv4 datagrams, which no receiver may
//! look at (RFC 6864 section 4.1); senders that leave it constant would otherwise never be joined.

use super::gso::{TCP_CHECKSUM, UDP_CHECKSUM};
use super::vnet::{GsoKind, Offload, VnetHeader};
use super::{IPV4_HEADER, IPV6_HEADER, Sum, TCP, TCP_HEADER, UDP, UDP_HEADER, be16, be32, put16};

/// The longest header that joins: IPv6 and TCP with all its options.
pub(super) const MAX_HEADER: usize = IPV6_HEADER + 60;

/// More datagrams than this in one super-packet Linux does not build either (`UDP_GRO_CNT_MAX`).
const MAX_DATAGRAMS: u16 = 64;

const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const DONT_FRAGMENT: u16 = 0x4000;

/// A packet that may join others: whole, plain TCP or UDP, without anything unusual.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    kind: GsoKind,
    /// Where the TCP or UDP header begins; tells the IP version as well.
    upper: usize,
    pub(super) header_len: usize,
    pub(super) payload_len: usize,
    sequence: u32,
    push: bool,
}

impl Candidate {
    /// Reads the headers of `packet`; `None` if it has to pass alone. Checksums are not verified.
    #[inline]
    pub(super) fn of(packet: &[u8], offload: Offload) -> Option<Self> {
        let (upper, protocol) = match *packet.first()? {
            // No options; exact length; not a fragment; the reserved flag clear.
            0x45 if packet.len() >= IPV4_HEADER
                && usize::from(be16(packet, 2)) == packet.len()
                && be16(packet, 6) & !DONT_FRAGMENT == 0 =>
            {
                (IPV4_HEADER, packet[9])
            }
            0x60..=0x6f
                if packet.len() >= IPV6_HEADER
                    && usize::from(be16(packet, 4)) + IPV6_HEADER == packet.len() =>
            {
                (IPV6_HEADER, packet[6])
            }
            _ => return None,
        };
        let (kind, offered) = match (protocol, upper) {
            (TCP, IPV4_HEADER) => (GsoKind::Tcp4, offload.tcp4),
            (TCP, _) => (GsoKind::Tcp6, offload.tcp6),
            (UDP, _) => (GsoKind::Udp, offload.udp),
            _ => return None,
        };
        if !offered {
            return None;
        }
        let segment = &packet[upper..];
        let (upper_len, sequence, push) = if protocol == TCP {
            tcp(segment)?
        } else {
            udp(segment)?
        };
        let header_len = upper + upper_len;
        let payload_len = packet.len() - header_len;
        (payload_len > 0).then_some(Self {
            kind,
            upper,
            header_len,
            payload_len,
            sequence,
            push,
        })
    }

    /// Whether a run may begin with this packet.
    ///
    /// A pushed segment is waited for and passes at once. The payload must be as long as the header
    /// because the header of the next packet is laid over its tail.
    #[inline]
    pub(super) fn starts_run(&self) -> bool {
        !self.push && self.payload_len >= self.header_len
    }

    /// Whether all checksums of `packet` are right, and written in the one form a sender computes.
    ///
    /// A super-packet is sent with checksums of its own, so a wrong one would come out right.
    #[inline]
    pub(super) fn has_valid_checksums(&self, packet: &[u8]) -> bool {
        let v4 = self.upper == IPV4_HEADER;
        if v4 && (Sum::of(&packet[..IPV4_HEADER]).fold() != 0xffff || be16(packet, 10) == 0xffff) {
            return false;
        }
        let segment = &packet[self.upper..];
        let (protocol, canonical) = match self.kind {
            // RFC 768: a datagram with checksum 0 has none, and must keep none.
            GsoKind::Udp => (UDP, be16(segment, UDP_CHECKSUM) != 0),
            _ => (TCP, be16(segment, TCP_CHECKSUM) != 0xffff),
        };
        let pseudo = Sum::pseudo_header(packet, protocol, segment.len());
        canonical && pseudo.plus(Sum::of(segment)).fold() == 0xffff
    }
}

/// Header length, sequence number and PSH of a TCP segment with flags ACK or ACK and PSH.
#[inline]
fn tcp(segment: &[u8]) -> Option<(usize, u32, bool)> {
    if segment.len() < TCP_HEADER {
        return None;
    }
    let header_len = usize::from(segment[12] >> 4) * 4;
    let reserved = segment[12] & 0x0f;
    let flags = segment[13];
    let plain = header_len >= TCP_HEADER && segment.len() >= header_len && reserved == 0;
    (plain && flags & !PSH == ACK).then_some((header_len, be32(segment, 4), flags & PSH != 0))
}

/// Header length (and nothing else) of a UDP datagram whose length is that of the packet.
#[inline]
fn udp(segment: &[u8]) -> Option<(usize, u32, bool)> {
    let whole = segment.len() >= UDP_HEADER && usize::from(be16(segment, 4)) == segment.len();
    whole.then_some((UDP_HEADER, 0, false))
}

/// How the identification of IPv4 packets goes on from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Identification {
    /// One packet only.
    Unknown,
    /// One more each time: what cutting writes.
    Counting,
    /// The same each time; only with DF.
    Constant,
}

/// Packets of one flow that stand in the buffer as one: a header, then all payloads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    first: Candidate,
    identification: Identification,
    count: u16,
    next_sequence: u32,
    /// Nothing may follow: the last segment was short, or pushed, or the count is full.
    pub(super) closed: bool,
}

impl Run {
    /// A run of one packet.
    #[inline]
    pub(super) fn new(first: Candidate) -> Self {
        Self {
            first,
            identification: Identification::Unknown,
            count: 1,
            next_sequence: first.sequence.wrapping_add(first.payload_len as u32),
            closed: false,
        }
    }

    /// Length of the header, which every packet of the run shares.
    #[inline]
    pub(super) fn header_len(&self) -> usize {
        self.first.header_len
    }

    /// Whether `packet`, which `next` describes, is the one that follows on `built`, apart from its
    /// checksums. The run must not be closed.
    #[inline]
    pub(super) fn continues(&self, built: &[u8], packet: &[u8], next: &Candidate) -> bool {
        let first = &self.first;
        let in_sequence = first.kind == GsoKind::Udp || next.sequence == self.next_sequence;
        if next.kind != first.kind
            || next.upper != first.upper
            || next.header_len != first.header_len
            || next.payload_len > first.payload_len
            || !in_sequence
            || built.len() + next.payload_len > usize::from(u16::MAX)
        {
            return false;
        }
        let (ip, upper) = packet[..first.header_len].split_at(first.upper);
        let (built_ip, built_upper) = built[..first.header_len].split_at(first.upper);
        let same_ip = if first.upper == IPV4_HEADER {
            // Version to TOS; flags, TTL and protocol; addresses.
            ip[..2] == built_ip[..2]
                && ip[6..10] == built_ip[6..10]
                && ip[12..20] == built_ip[12..20]
                && self.identification_after(built_ip, ip).is_some()
        } else {
            // Version, traffic class and flow label; next header, hop limit and addresses.
            ip[..4] == built_ip[..4] && ip[6..40] == built_ip[6..40]
        };
        same_ip
            && upper[..4] == built_upper[..4]
            && (first.kind == GsoKind::Udp || same_tcp(upper, built_upper))
    }

    /// Takes `packet`, which [`continues`](Self::continues) this run, into account; `built` is the
    /// run so far.
    #[inline]
    pub(super) fn append(&mut self, built: &mut [u8], header: &[u8], next: &Candidate) {
        if self.first.upper == IPV4_HEADER
            && let Some(identification) = self.identification_after(built, header)
        {
            self.identification = identification;
        }
        self.count += 1;
        self.next_sequence = self.next_sequence.wrapping_add(next.payload_len as u32);
        if next.push {
            built[self.first.upper + 13] |= PSH;
        }
        let full = self.first.kind == GsoKind::Udp && self.count == MAX_DATAGRAMS;
        self.closed = next.push || next.payload_len < self.first.payload_len || full;
    }

    /// Makes `built` a packet that says what it holds, and returns the header that announces it.
    #[inline]
    pub(super) fn finish(&self, built: &mut [u8]) -> VnetHeader {
        if self.count == 1 {
            return VnetHeader::default();
        }
        let first = &self.first;
        let length = built.len();
        if first.upper == IPV4_HEADER {
            put16(built, 2, length as u16);
            put16(built, 10, 0);
            let checksum = Sum::of(&built[..IPV4_HEADER]).checksum();
            put16(built, 10, checksum);
        } else {
            put16(built, 4, (length - IPV6_HEADER) as u16);
        }
        let upper_len = length - first.upper;
        let (protocol, checksum_offset) = match first.kind {
            GsoKind::Udp => (UDP, UDP_CHECKSUM),
            _ => (TCP, TCP_CHECKSUM),
        };
        let pseudo = Sum::pseudo_header(built, protocol, upper_len).fold();
        let upper = &mut built[first.upper..];
        if protocol == UDP {
            put16(upper, 4, upper_len as u16);
        }
        put16(upper, checksum_offset, pseudo);
        VnetHeader {
            needs_checksum: true,
            data_valid: false,
            kind: first.kind,
            ecn: false,
            header_len: first.header_len as u16,
            segment_size: first.payload_len as u16,
            checksum_start: first.upper as u16,
            checksum_offset: checksum_offset as u16,
        }
    }

    /// How identification goes on if the packet with IPv4 header `ip` follows, or `None` if it does
    /// not.
    #[inline]
    fn identification_after(&self, built_ip: &[u8], ip: &[u8]) -> Option<Identification> {
        let first = be16(built_ip, 4);
        let this = be16(ip, 4);
        let counts = this == first.wrapping_add(self.count);
        let constant = this == first && be16(ip, 6) & DONT_FRAGMENT != 0;
        match self.identification {
            Identification::Unknown if counts => Some(Identification::Counting),
            Identification::Unknown if constant => Some(Identification::Constant),
            Identification::Counting if counts => Some(Identification::Counting),
            Identification::Constant if constant => Some(Identification::Constant),
            _ => None,
        }
    }
}

/// Acknowledgement, header length, window, urgent pointer and all options are the same.
#[inline]
fn same_tcp(tcp: &[u8], built: &[u8]) -> bool {
    tcp[8..13] == built[8..13]
        && tcp[14..16] == built[14..16]
        && tcp[18..20] == built[18..20]
        && tcp[20..] == built[20..]
}
