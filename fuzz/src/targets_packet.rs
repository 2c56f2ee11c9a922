//! Fuzz targets for inner packets: what a peer sends through the tunnel, and what a TUN device
//! hands over.
//!
//! Each function takes any bytes and panics where a promise of `qdt_proto::packet` does not hold.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use qdt_proto::packet::{
    Coalescer, GsoKind, InnerPacket, Offload, Segments, Sum, VnetHeader, clamp_mss,
    echo_reply_sequence, icmp_packet_too_big, ipv4_addresses,
};

/// One inner packet: the views agree, answers are packets themselves, and the clamp keeps a sum as
/// it was.
pub fn inner_packet(data: &[u8]) {
    let strict = InnerPacket::parse(data);
    if let Ok(InnerPacket::V4(packet)) = strict {
        let addresses = ipv4_addresses(data).expect("what is strictly valid is valid to a Go peer");
        assert_eq!(addresses.source, packet.source());
        assert_eq!(addresses.destination, packet.destination());
    }
    let mut out = [0; 1400];
    for source in [
        IpAddr::V4(Ipv4Addr::new(10, 8, 0, 1)),
        IpAddr::V6(Ipv6Addr::from_bits(1 << 120)),
    ] {
        if let Some(length) = icmp_packet_too_big(data, 1200, source, &mut out) {
            let answer = InnerPacket::parse(&out[..length]).expect("an answer is a whole packet");
            let asked = strict.expect("only whole packets are answered");
            assert_eq!(
                (answer.source(), answer.destination()),
                (source, asked.source())
            );
            assert_eq!(
                icmp_packet_too_big(&out[..length], 1200, source, &mut [0; 1400]),
                None
            );
        }
    }
    let mut clamped = data.to_vec();
    if clamp_mss(&mut clamped, 1200) {
        assert_eq!(clamped.len(), data.len());
        assert!(!clamp_mss(&mut clamped, 1200), "clamped once is clamped");
        if strict.is_ok_and(|packet| packet.protocol() == Some(6)) {
            assert_eq!(
                upper_sum(&clamped),
                upper_sum(data),
                "a checksum stays as right or wrong as it was"
            );
        }
    }
    let _ = echo_reply_sequence(data, 1);
}

/// One read from a TUN device: what a super-packet is cut into carries all of its payload, and
/// every checksum verifies.
pub fn tun_read(data: &[u8]) {
    let mut plain = data.to_vec();
    let mut segments =
        Segments::new(&mut plain, false).expect("without a header anything is one packet");
    assert_eq!(
        segments.next().map(|packet| packet.to_vec()).as_deref(),
        Some(data)
    );
    assert_eq!(segments.next(), None);

    let mut read = data.to_vec();
    let Ok(mut segments) = Segments::new(&mut read, true) else {
        return;
    };
    let header = VnetHeader::parse(data).expect("the same header was read before");
    let mut packets = Vec::new();
    while let Some(packet) = segments.next() {
        packets.push(packet.to_vec());
        packet.fill(0xee);
    }
    if header.kind == GsoKind::None {
        assert_eq!(packets.len(), 1);
        return;
    }
    let original = &data[VnetHeader::LEN..];
    let size = usize::from(header.segment_size);
    let header_len = match upper_at(original) {
        // Extension headers are the crate's tests' business; more than 65535 bytes no header can
        // name.
        None => return,
        Some(_) if original.len() > usize::from(u16::MAX) => return,
        Some((17, upper)) => upper + 8,
        Some((_, upper)) => upper + usize::from(original[upper + 12] >> 4) * 4,
    };
    let payload: Vec<u8> = packets
        .iter()
        .flat_map(|packet| packet[header_len..].to_vec())
        .collect();
    assert_eq!(
        payload,
        original[header_len..],
        "nothing is lost, nothing is added"
    );
    for packet in &packets {
        assert!(packet.len() <= header_len + size);
        if packet[0] >> 4 == 4 {
            let ip = usize::from(packet[0] & 0x0f) * 4;
            assert_eq!(Sum::of(&packet[..ip]).fold(), 0xffff);
        }
        InnerPacket::parse(packet).expect("a segment is a whole packet");
        assert_eq!(upper_sum(packet), Some(0xffff));
    }
}

/// A stream of packets into the coalescer: cutting what comes out gives back what went in, in its
/// order.
///
/// The stream is a list of records: a byte of flags (see `record`), a big-endian length, and as
/// many bytes.
pub fn coalescer(data: &[u8]) {
    let offload = Offload {
        vnet_header: true,
        tcp4: true,
        tcp6: true,
        udp: true,
    };
    let mut coalescer = Coalescer::new(offload);
    let (mut put_in, mut writes) = (Vec::<Vec<u8>>::new(), Vec::<Vec<u8>>::new());
    let mut sink = |bytes: &[u8]| writes.push(bytes.to_vec());
    let mut rest = data;
    while let [flags, high, low, more @ ..] = rest {
        let (bytes, after) = more.split_at(
            more.len()
                .min(usize::from(u16::from_be_bytes([*high, *low]))),
        );
        rest = after;
        let packet = record::packet(*flags, bytes, put_in.last());
        if flags & record::JUNK_FIRST != 0 {
            coalescer.slot(bytes.len() * 3).fill(0xdd);
            coalescer.abandon();
        }
        let slack = usize::from(flags & record::SLACK);
        coalescer.slot(packet.len() + slack)[..packet.len()].copy_from_slice(&packet);
        coalescer.commit(packet.len(), &mut sink);
        if flags & record::FLUSH != 0 {
            coalescer.flush(&mut sink);
        }
        put_in.push(packet);
        if put_in.len() == 200 {
            break;
        }
    }
    coalescer.flush(&mut sink);
    let mut came_out = Vec::new();
    for write in &mut writes {
        assert!(write.len() <= VnetHeader::LEN + usize::from(u16::MAX));
        let mut segments = Segments::new(write, true).expect("what is written can be read");
        while let Some(packet) = segments.next() {
            came_out.push(packet.to_vec());
        }
    }
    for packet in came_out.iter_mut().chain(&mut put_in) {
        without_atomic_identification(packet);
    }
    assert_eq!(came_out, put_in);
}

/// How the bytes of a record become a packet.
mod record {
    use super::{Sum, upper_at};

    /// Write right checksums into the packet.
    pub(super) const REPAIR: u8 = 0x80;
    /// The packet continues the one before; the bytes are pairs of a place and what to change
    /// there.
    pub(super) const CONTINUE: u8 = 0x40;
    /// A slot is filled with junk and abandoned before.
    pub(super) const JUNK_FIRST: u8 = 0x20;
    /// Everything is flushed after it.
    pub(super) const FLUSH: u8 = 0x10;
    /// The slot is longer than the packet by this much.
    pub(super) const SLACK: u8 = 0x0f;

    pub(super) fn packet(flags: u8, bytes: &[u8], before: Option<&Vec<u8>>) -> Vec<u8> {
        let mut packet = bytes.to_vec();
        if let (true, Some(before)) = (flags & CONTINUE != 0, before) {
            packet = before.clone();
            advance(&mut packet);
            for pair in bytes.chunks_exact(2) {
                if let Some(byte) = packet.get_mut(usize::from(pair[0])) {
                    *byte ^= pair[1];
                }
            }
        }
        if flags & REPAIR != 0 {
            repair(&mut packet);
        }
        packet
    }

    /// Identification and sequence number of the next packet of the same length.
    fn advance(packet: &mut [u8]) {
        let Some((protocol, upper)) = upper_at(packet) else {
            return;
        };
        if packet[0] >> 4 == 4 {
            let id = u16::from_be_bytes([packet[4], packet[5]]).wrapping_add(1);
            packet[4..6].copy_from_slice(&id.to_be_bytes());
        }
        if protocol == 6 && packet.len() >= upper + 20 {
            let header = usize::from(packet[upper + 12] >> 4) * 4;
            let payload = packet.len().saturating_sub(upper + header) as u32;
            let field = upper + 4..upper + 8;
            let sequence = packet[field.clone()]
                .iter()
                .fold(0u32, |value, byte| value << 8 | u32::from(*byte));
            packet[field].copy_from_slice(&sequence.wrapping_add(payload).to_be_bytes());
        }
    }

    fn repair(packet: &mut [u8]) {
        let Some((protocol, upper)) = upper_at(packet) else {
            return;
        };
        if packet[0] >> 4 == 4 {
            packet[10..12].fill(0);
            let checksum = Sum::of(&packet[..upper]).checksum();
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        let field = upper + if protocol == 17 { 6 } else { 16 };
        if packet.len() >= field + 2 {
            packet[field..field + 2].fill(0);
            let length = packet.len() - upper;
            let sum = Sum::pseudo_header(packet, protocol, length).plus(Sum::of(&packet[upper..]));
            let checksum = if protocol == 17 && sum.checksum() == 0 {
                0xffff
            } else {
                sum.checksum()
            };
            packet[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

/// Protocol and beginning of a TCP or UDP header right behind the IP header.
fn upper_at(packet: &[u8]) -> Option<(u8, usize)> {
    let (protocol, upper) = match packet.first()? >> 4 {
        4 if packet.len() >= 20 => (packet[9], usize::from(packet[0] & 0x0f) * 4),
        6 if packet.len() >= 40 => (packet[6], 40),
        _ => return None,
    };
    (matches!(protocol, 6 | 17) && (20..=packet.len()).contains(&upper))
        .then_some((protocol, upper))
}

/// The folded sum over a TCP or UDP packet and its pseudo header; `None` behind IPv6 extension
/// headers.
fn upper_sum(packet: &[u8]) -> Option<u16> {
    let (protocol, upper) = upper_at(packet)?;
    let pseudo = Sum::pseudo_header(packet, protocol, packet.len() - upper);
    Some(pseudo.plus(Sum::of(&packet[upper..])).fold())
}

/// The identification of an atomic IPv4 datagram has no meaning (RFC 6864): it may count where it
/// did not.
fn without_atomic_identification(packet: &mut [u8]) {
    let plain = packet.len() >= 20 && packet[0] == 0x45 && packet[6] & 0x40 != 0;
    if plain && Sum::of(&packet[..20]).fold() == 0xffff {
        packet[4..6].fill(0);
        packet[10..12].fill(0);
    }
}
