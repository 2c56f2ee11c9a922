//! The packets that the cases work on: TCP over IPv4 as Linux sends it, with timestamps, and the
//! super-packets a TUN device makes of it. Every byte is the same in every run.

use qdt_proto::packet::{GsoKind, Sum, VnetHeader};

/// Length of the IP header, and of the TCP header with its timestamps.
pub(crate) const HEADERS: usize = 20 + 32;
/// Length of a full packet in bytes, as one datagram carries it.
pub(crate) const FULL: usize = 1300;
/// Length of a packet without payload: an acknowledgement.
pub(crate) const SMALL: usize = HEADERS;
/// TCP payload of a full packet.
const SEGMENT: usize = FULL - HEADERS;
/// Full packets in a super-packet: as many as its 16-bit length has room for.
pub(crate) const SEGMENTS: usize = (65_535 - HEADERS) / SEGMENT;

const IPV4: [u8; 20] = [
    0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, 6, 0, 0, 10, 8, 0, 2, 10, 8, 0, 1,
];
const TCP: [u8; 32] = [
    0x9c, 0x40, 0x14, 0x51, 0, 0, 0x10, 0, 0, 0, 0x20, 0, 0x80, 0x10, 1, 0xf5, 0, 0, 0,
    0, // fixed
    1, 1, 8, 10, 0, 0, 1, 0, 0, 0, 2, 0, // NOP, NOP, timestamps
];

/// One TCP packet of `len` bytes, the `index`th of its flow, complete in every part.
pub(crate) fn tcp(index: usize, len: usize) -> Vec<u8> {
    let mut packet = unfinished(len, index * (len - HEADERS));
    // Each has an identification of its own, one above the packet before.
    packet[4..6].copy_from_slice(&(index as u16).to_be_bytes());
    finish_ip(&mut packet);
    let checksum = Sum::pseudo_header(&packet, 6, len - 20)
        .plus(Sum::of(&packet[20..]))
        .checksum();
    packet[36..38].copy_from_slice(&checksum.to_be_bytes());
    packet
}

/// What one read from a TUN device gives for [`SEGMENTS`] full packets.
pub(crate) fn super_packet() -> Vec<u8> {
    let packet = without_checksum(HEADERS + SEGMENTS * SEGMENT);
    let header = VnetHeader {
        kind: GsoKind::Tcp4,
        header_len: HEADERS as u16,
        segment_size: SEGMENT as u16,
        ..checksum_missing()
    };
    [&header.encode()[..], &packet].concat()
}

/// What one read from a TUN device gives for one packet of `len` bytes: its checksum is to be
/// completed.
pub(crate) fn single_read(len: usize) -> Vec<u8> {
    [&checksum_missing().encode()[..], &without_checksum(len)].concat()
}

fn checksum_missing() -> VnetHeader {
    VnetHeader {
        needs_checksum: true,
        checksum_start: 20,
        checksum_offset: 16,
        ..VnetHeader::default()
    }
}

/// A TCP packet in whose checksum field the pseudo header's sum stands.
fn without_checksum(len: usize) -> Vec<u8> {
    let mut packet = unfinished(len, 0);
    finish_ip(&mut packet);
    let sum = Sum::pseudo_header(&packet, 6, len - 20).fold();
    packet[36..38].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn unfinished(len: usize, sequence: usize) -> Vec<u8> {
    let mut packet = [&IPV4[..], &TCP].concat();
    packet.extend((HEADERS..len).map(|at| at as u8));
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[24..28].copy_from_slice(&(sequence as u32).to_be_bytes());
    packet
}

fn finish_ip(packet: &mut [u8]) {
    packet[10..12].fill(0);
    let checksum = Sum::of(&packet[..20]).checksum();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}
