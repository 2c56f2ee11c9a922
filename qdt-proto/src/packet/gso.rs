//! Generic segmentation offload: a super-packet cut into segments, each with the shared header.
//!
//! The shared header is kept apart with every changing field zeroed, next to the sums over it, so
//! that a segment costs one copy of the header and one sum over its own payload. The rules are
//! those of Linux's `tcp_gso_segment`, `__udp_gso_segment` and `inet_gso_segment`.

use super::upper_layer::upper_layer;
use super::vnet::{GsoKind, VnetError, VnetHeader};
use super::{IPV6_HEADER, Sum, TCP, TCP_HEADER, UDP, UDP_HEADER, be16, be32, put16};

/// The longest header a super-packet may have: IPv6, TCP with all its options, and room for a few
/// extension headers.
const MAX_HEADER: usize = 160;

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Offset of the checksum in a TCP header.
pub(super) const TCP_CHECKSUM: usize = 16;
/// Offset of the checksum in a UDP header.
pub(super) const UDP_CHECKSUM: usize = 6;

/// The reason why a TUN read cannot be segmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentError {
    /// The virtio_net_hdr itself.
    #[error(transparent)]
    Header(#[from] VnetError),
    /// A super-packet whose segments would have no payload.
    #[error("a super-packet with segment size 0")]
    ZeroSegment,
    /// The bytes are not the kind of packet the header announces.
    #[error("the header announces {announced:?}, but the packet is none")]
    NotAnnounced {
        /// What the header says follows.
        announced: GsoKind,
    },
    /// The packet ends inside its headers, or they are longer than 160 bytes, or the TCP header
    /// says that it is shorter than it can be.
    #[error("headers of {header} bytes in a super-packet of {length} bytes")]
    Headers {
        /// Bytes of all headers together.
        header: usize,
        /// Bytes of the whole packet.
        length: usize,
    },
    /// The checksum is announced at a place where there is none.
    #[error(
        "checksum from byte {start} to be written at {start}+{offset} of a packet of {length} bytes"
    )]
    ChecksumPlace {
        /// Where summing begins.
        start: u16,
        /// Where the checksum stands, from `start`.
        offset: u16,
        /// Bytes of the whole packet.
        length: usize,
    },
}

/// Adds what is missing to a checksum field that holds the pseudo-header sum (Linux
/// `skb_checksum_help`).
pub(super) fn complete_checksum(
    packet: &mut [u8],
    header: &VnetHeader,
) -> Result<(), SegmentError> {
    let wrong = SegmentError::ChecksumPlace {
        start: header.checksum_start,
        offset: header.checksum_offset,
        length: packet.len(),
    };
    let covered = packet
        .get_mut(usize::from(header.checksum_start)..)
        .ok_or(wrong)?;
    let at = usize::from(header.checksum_offset);
    if covered.len() < at + 2 {
        return Err(wrong);
    }
    let checksum = Sum::of(covered).checksum();
    // In UDP zero says that there is no checksum (RFC 768); elsewhere both zeros are the same.
    put16(covered, at, if checksum == 0 { 0xffff } else { checksum });
    Ok(())
}

/// Cuts one super-packet into segments.
#[derive(Debug)]
pub(super) struct Segmenter {
    /// The headers with total length, identification, sequence number, TCP flags and checksums
    /// zeroed.
    header: [u8; MAX_HEADER],
    header_len: usize,
    /// Where the TCP or UDP header begins.
    upper: usize,
    protocol: u8,
    segment_size: usize,
    /// Where the payload of the next segment begins; past the end when all are handed out.
    payload_at: usize,
    index: u16,
    /// Sum over the zeroed IPv4 header.
    ip_sum: Sum,
    /// Sum over the zeroed TCP or UDP header and the pseudo header without its length.
    upper_sum: Sum,
    identification: u16,
    sequence: u32,
    flags: u8,
    finished: bool,
}

impl Segmenter {
    /// Reads the headers of `packet`, which `vnet` announces as a super-packet.
    pub(super) fn new(packet: &[u8], vnet: &VnetHeader) -> Result<Self, SegmentError> {
        let not_announced = SegmentError::NotAnnounced {
            announced: vnet.kind,
        };
        let found = upper_layer(packet).ok_or(not_announced)?;
        let version = packet[0] >> 4;
        let (fits, protocol, checksum_at, least) = match vnet.kind {
            GsoKind::Tcp4 => (version == 4, TCP, TCP_CHECKSUM, TCP_HEADER),
            GsoKind::Tcp6 => (version == 6, TCP, TCP_CHECKSUM, TCP_HEADER),
            GsoKind::Udp => (true, UDP, UDP_CHECKSUM, UDP_HEADER),
            GsoKind::None => (false, 0, 0, 0),
        };
        if !fits || found.protocol != protocol || found.fragmented {
            return Err(not_announced);
        }
        if vnet.segment_size == 0 {
            return Err(SegmentError::ZeroSegment);
        }
        let upper = found.offset;
        let wanted = (
            usize::from(vnet.checksum_start),
            usize::from(vnet.checksum_offset),
        );
        if vnet.needs_checksum && wanted != (upper, checksum_at) {
            return Err(SegmentError::ChecksumPlace {
                start: vnet.checksum_start,
                offset: vnet.checksum_offset,
                length: packet.len(),
            });
        }
        let upper_len = match packet.get(upper + 12) {
            Some(offset) if protocol == TCP => usize::from(offset >> 4) * 4,
            _ => least,
        };
        let header_len = upper + upper_len;
        if upper_len < least || packet.len() < header_len || header_len > MAX_HEADER {
            return Err(SegmentError::Headers {
                header: header_len,
                length: packet.len(),
            });
        }
        Ok(Self::with_header(
            packet,
            header_len,
            upper,
            protocol,
            usize::from(vnet.segment_size),
        ))
    }

    fn with_header(
        packet: &[u8],
        header_len: usize,
        upper: usize,
        protocol: u8,
        segment_size: usize,
    ) -> Self {
        let mut header = [0; MAX_HEADER];
        header[..header_len].copy_from_slice(&packet[..header_len]);
        let v4 = header[0] >> 4 == 4;
        let identification = if v4 { be16(&header, 4) } else { 0 };
        if v4 {
            header[2..6].fill(0);
            header[10..12].fill(0);
        }
        let (mut sequence, mut flags) = (0, 0);
        if protocol == TCP {
            sequence = be32(&header, upper + 4);
            flags = header[upper + 13];
            header[upper + 4..upper + 8].fill(0);
            header[upper + 13] = 0;
            header[upper + TCP_CHECKSUM..upper + TCP_CHECKSUM + 2].fill(0);
        } else {
            header[upper + 4..upper + 8].fill(0); // length and checksum
        }
        let ip_sum = if v4 {
            Sum::of(&header[..upper])
        } else {
            Sum::default()
        };
        let upper_sum =
            Sum::pseudo_header(&header, protocol, 0).plus(Sum::of(&header[upper..header_len]));
        Self {
            header,
            header_len,
            upper,
            protocol,
            segment_size,
            payload_at: header_len,
            index: 0,
            ip_sum,
            upper_sum,
            identification,
            sequence,
            flags,
            finished: false,
        }
    }

    /// Writes the header of the next segment before its payload and lends the segment.
    #[inline]
    pub(super) fn next_segment<'p>(&mut self, packet: &'p mut [u8]) -> Option<&'p mut [u8]> {
        if self.finished {
            return None;
        }
        let payload_at = self.payload_at;
        let end = (payload_at + self.segment_size).min(packet.len());
        let last = end == packet.len();
        let segment = packet.get_mut(payload_at - self.header_len..end)?;
        let (header, payload) = segment.split_at_mut(self.header_len);
        header.copy_from_slice(&self.header[..self.header_len]);
        let (ip, upper) = header.split_at_mut(self.upper);
        let upper_len = upper.len() + payload.len();
        self.write_ip(ip, upper_len);
        let sum = self.upper_sum.word(upper_len as u16).plus(Sum::of(payload));
        if self.protocol == TCP {
            self.write_tcp(upper, sum, last);
        } else {
            put16(upper, 4, upper_len as u16);
            let checksum = sum.word(upper_len as u16).checksum();
            put16(
                upper,
                UDP_CHECKSUM,
                if checksum == 0 { 0xffff } else { checksum },
            );
        }
        self.index = self.index.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(payload.len() as u32);
        self.payload_at = end;
        self.finished = last;
        Some(segment)
    }

    #[inline(always)]
    fn write_ip(&self, ip: &mut [u8], upper_len: usize) {
        if ip[0] >> 4 == 4 {
            let total = (ip.len() + upper_len) as u16;
            // Unlike flags and addresses every datagram has its own identification (RFC 791 section
            // 3.2).
            let identification = self.identification.wrapping_add(self.index);
            put16(ip, 2, total);
            put16(ip, 4, identification);
            put16(
                ip,
                10,
                self.ip_sum.word(total).word(identification).checksum(),
            );
        } else {
            put16(ip, 4, (ip.len() - IPV6_HEADER + upper_len) as u16);
        }
    }

    #[inline(always)]
    fn write_tcp(&self, tcp: &mut [u8], sum: Sum, last: bool) {
        let mut flags = self.flags;
        if !last {
            flags &= !(FIN | PSH);
        }
        if self.index > 0 {
            // RFC 3168 section 6.1.2: the answer to a congestion echo is given once.
            flags &= !CWR;
        }
        tcp[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        tcp[13] = flags;
        let sequence = self.sequence;
        let sum = sum
            .word((sequence >> 16) as u16)
            .word(sequence as u16)
            .word(u16::from(flags));
        put16(tcp, TCP_CHECKSUM, sum.checksum());
    }
}
