//! Inner packets of the test's making.

use std::net::Ipv4Addr;

/// An IPv4 packet with valid header checksum and total length.
#[must_use]
pub fn ipv4_packet(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let total = (20 + payload.len()) as u16;
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&total.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let sum = checksum(&packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// An ICMP echo request with `size` payload bytes.
#[must_use]
pub fn echo_request(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    sequence: u16,
    size: usize,
) -> Vec<u8> {
    let mut message = vec![8, 0, 0, 0, 0x71, 0x64];
    message.extend_from_slice(&sequence.to_be_bytes());
    message.resize(8 + size, 0x5a);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4_packet(source, destination, 1, &message)
}

/// A UDP packet without checksum.
#[must_use]
pub fn udp_packet(
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
    payload: &[u8],
) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    let mut datagram = Vec::with_capacity(usize::from(length));
    for field in [source.1, destination.1, length, 0] {
        datagram.extend_from_slice(&field.to_be_bytes());
    }
    datagram.extend_from_slice(payload);
    ipv4_packet(source.0, destination.0, 17, &datagram)
}

/// The Internet checksum (RFC 1071).
fn checksum(data: &[u8]) -> u16 {
    let mut sum: u32 = data
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
