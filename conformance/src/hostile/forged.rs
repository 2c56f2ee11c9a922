//! Packets with a forged source.

/// An IPv4 packet with the addresses, ports and the rest of the headers that `original`, a UDP
/// packet without IP options, has, around another payload. Its identification is 0, as Linux gives
/// it to what may not be fragmented: so the kernel merges it with the first of every batch that the
/// genuine sender sends.
///
/// # Panics
/// When the original is shorter than its headers.
#[must_use]
pub fn forged(original: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = original[..28].to_vec();
    packet.extend_from_slice(payload);
    let length = (packet.len() as u16).to_be_bytes();
    packet[2..4].copy_from_slice(&length);
    packet[4..6].fill(0);
    packet[10..12].fill(0);
    let sum = !sum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    let length = (packet.len() - 20) as u16;
    packet[24..26].copy_from_slice(&length.to_be_bytes());
    packet[26..28].fill(0);
    // The pseudo header: addresses, protocol, length (RFC 768).
    let parts = [sum_of(&packet[12..]), 17, u32::from(length)];
    let checksum = match !fold(parts.iter().sum()) {
        0 => 0xffff,
        checksum => checksum,
    };
    packet[26..28].copy_from_slice(&checksum.to_be_bytes());
    packet
}

fn sum(data: &[u8]) -> u16 {
    fold(sum_of(data))
}

/// The sum of the Internet checksum (RFC 1071), not yet folded.
fn sum_of(data: &[u8]) -> u32 {
    data.chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0)))
        .sum()
}

fn fold(mut sum: u32) -> u16 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
