//! What the kernel does with a super-packet, written down plainly: one new packet per segment,
//! every field and checksum from scratch. Slow, allocating, and easy to check against Linux's
//! `tcp_gso_segment`.

use crate::build::slow_checksum;

/// The packets one TUN write (or read) stands for. `bytes` starts with a virtio_net_hdr.
pub(crate) fn resegment(bytes: &[u8]) -> Vec<Vec<u8>> {
    let field = |at: usize| usize::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
    let (flags, kind) = (bytes[0], bytes[1]);
    let (segment_size, start) = (field(4), field(6));
    let packet = &bytes[10..];
    if kind == 0 {
        assert_eq!(flags, 0, "a single packet is written as it is");
        return vec![packet.to_vec()];
    }
    assert_eq!(flags, 1, "a super-packet asks for its checksum");
    let v4 = packet[0] >> 4 == 4;
    let udp = kind == 5;
    let upper_header = if udp {
        8
    } else {
        usize::from(packet[start + 12] >> 4) * 4
    };
    assert_eq!(
        start,
        if v4 {
            usize::from(packet[0] & 15) * 4
        } else {
            40
        }
    );
    let (header, payload) = packet.split_at(start + upper_header);
    let pieces: Vec<&[u8]> = if payload.is_empty() {
        vec![payload]
    } else {
        payload.chunks(segment_size).collect()
    };
    let mut done = 0;
    let count = pieces.len();
    pieces
        .into_iter()
        .enumerate()
        .map(|(index, piece)| {
            let mut segment = header.to_vec();
            segment.extend(piece);
            let length = segment.len();
            if v4 {
                segment[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                let id = u16::from_be_bytes([header[4], header[5]]).wrapping_add(index as u16);
                segment[4..6].copy_from_slice(&id.to_be_bytes());
                segment[10..12].fill(0);
                let checksum = slow_checksum(&[&segment[..start]]);
                segment[10..12].copy_from_slice(&checksum.to_be_bytes());
            } else {
                segment[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
            }
            if udp {
                let length = (length - start) as u16;
                segment[start + 4..start + 6].copy_from_slice(&length.to_be_bytes());
            } else {
                let at = start + 4;
                let seq = u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
                segment[at..at + 4].copy_from_slice(&seq.wrapping_add(done).to_be_bytes());
                if index + 1 < count {
                    segment[start + 13] &= !0x09;
                }
                if index > 0 {
                    segment[start + 13] &= !0x80;
                }
            }
            let checksum_at = start + if udp { 6 } else { 16 };
            segment[checksum_at..checksum_at + 2].fill(0);
            let mut checksum = checksum_of(&segment, start, if udp { 17 } else { 6 });
            if udp && checksum == 0 {
                checksum = 0xffff;
            }
            segment[checksum_at..checksum_at + 2].copy_from_slice(&checksum.to_be_bytes());
            done += piece.len() as u32;
            segment
        })
        .collect()
}

/// The upper layer's checksum with its pseudo header; 0 for a packet whose checksum is there and
/// right.
pub(crate) fn checksum_of(packet: &[u8], start: usize, protocol: u8) -> u16 {
    let addresses = if packet[0] >> 4 == 4 {
        &packet[12..20]
    } else {
        &packet[8..40]
    };
    let length = (packet.len() - start) as u32;
    slow_checksum(&[
        addresses,
        &length.to_be_bytes(),
        &[0, 0, 0, protocol],
        &packet[start..],
    ])
}

/// Whether `packet` is IPv4 with a right header checksum.
pub(crate) fn sound_ipv4(packet: &[u8]) -> bool {
    packet.len() >= 20 && packet[0] == 0x45 && slow_checksum(&[&packet[..20]]) == 0
}
