//! Splitting what was read from a TUN device.

use qdt_proto::packet::{InnerPacket, SegmentError, Segments, VnetError, VnetHeader, clamp_mss};

use crate::build::{Build, pattern, run_of};
use crate::reference::{checksum_of, resegment};

/// Splits `read` the way a worker does: each packet is used before the next is asked for.
pub(crate) fn split(read: &[u8]) -> Result<Vec<Vec<u8>>, SegmentError> {
    let mut buffer = read.to_vec();
    let mut segments = Segments::new(&mut buffer, true)?;
    let mut packets = Vec::new();
    while let Some(packet) = segments.next() {
        packets.push(packet.to_vec());
        packet.fill(0xee);
    }
    Ok(packets)
}

fn all_kinds() -> [Build; 4] {
    [
        Build::tcp(),
        Build {
            v6: true,
            ..Build::tcp()
        },
        Build::udp(),
        Build {
            v6: true,
            ..Build::udp()
        },
    ]
}

#[test]
fn a_super_packet_becomes_the_packets_the_sender_would_have_sent_one_by_one() {
    for build in all_kinds() {
        let read = Build {
            payload: pattern(10_000, 0),
            ..build.clone()
        }
        .super_packet(1300);
        let packets = split(&read).unwrap();
        assert_eq!(packets, run_of(&build, 8, 1300, 900));
        assert_eq!(packets, resegment(&read));
    }
}

#[test]
fn fin_and_push_come_last_and_congestion_window_reduced_first() {
    let build = Build {
        flags: 0xd9,
        payload: pattern(3000, 0),
        ..Build::tcp()
    };
    let packets = split(&build.super_packet(1000)).unwrap();
    let flags: Vec<u8> = packets.iter().map(|packet| packet[33]).collect();
    assert_eq!(flags, [0xd0, 0x50, 0x59]);
    assert!(packets.iter().all(|packet| checksum_of(packet, 20, 6) == 0));
}

#[test]
fn a_super_packet_of_one_segment_is_one_packet() {
    for build in all_kinds() {
        for payload in [0, 1, 999, 1000] {
            let build = Build {
                payload: pattern(payload, 0),
                ..build.clone()
            };
            assert_eq!(split(&build.super_packet(1000)).unwrap(), [build.packet()]);
        }
    }
}

#[test]
fn segments_shorter_than_their_headers_are_cut_right_as_well() {
    for build in all_kinds() {
        let read = Build {
            payload: pattern(100, 0),
            ..build.clone()
        }
        .super_packet(7);
        assert_eq!(split(&read).unwrap(), run_of(&build, 15, 7, 2));
    }
}

#[test]
fn extension_headers_and_ip_options_are_repeated() {
    let mut read = Build {
        v6: true,
        payload: pattern(3000, 0),
        ..Build::tcp()
    }
    .super_packet(1000);
    read.splice(50..50, [6, 0, 1, 4, 0, 0, 0, 0]);
    read[16] = 60;
    read[6..8].copy_from_slice(&48u16.to_ne_bytes());
    let packets = split(&read).unwrap();
    assert_eq!(packets.len(), 3);
    for packet in packets {
        assert!(InnerPacket::parse(&packet).is_ok());
        assert_eq!(packet[40..48], [6, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(checksum_of(&packet, 48, 6), 0);
    }
    let mut read = Build {
        payload: pattern(3000, 0),
        ..Build::udp()
    }
    .super_packet(1000);
    read.splice(30..30, [148, 4, 0, 0]);
    read[10] = 0x46;
    read[6..8].copy_from_slice(&24u16.to_ne_bytes());
    assert_eq!(split(&read).unwrap(), resegment(&read));
}

#[test]
fn a_partial_checksum_is_completed() {
    for build in all_kinds() {
        let mut read = build.super_packet(0);
        read[1] = 0;
        assert_eq!(split(&read).unwrap(), [build.packet()]);
    }
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_written_as_all_ones() {
    // The payload word that makes the sum come out as zero is the checksum of the same packet with
    // a zero there.
    let zero = Build {
        payload: vec![0; 2],
        ..Build::udp()
    }
    .packet();
    let build = Build {
        payload: zero[26..28].to_vec(),
        ..Build::udp()
    };
    let mut read = build.super_packet(1000);
    assert_eq!(split(&read).unwrap()[0][26..28], [0xff; 2]);
    read[1] = 0;
    assert_eq!(split(&read).unwrap()[0][26..28], [0xff; 2]);
}

#[test]
fn a_packet_without_offload_passes_untouched_even_if_its_checksum_is_wrong() {
    let mut packet = Build::tcp().packet();
    packet[30] ^= 1;
    let mut read = VnetHeader::default().encode().to_vec();
    read.extend(&packet);
    assert_eq!(split(&read).unwrap(), [packet.clone()]);
    let mut plain = packet.clone();
    let mut segments = Segments::new(&mut plain, false).unwrap();
    assert_eq!(segments.next().map(|packet| packet.to_vec()), Some(packet));
    assert_eq!(segments.next(), None);
}

#[test]
fn a_syn_handed_out_can_be_clamped_at_once() {
    let build = Build {
        flags: 2,
        options: vec![2, 4, 5, 0xb4],
        payload: vec![],
        ..Build::tcp()
    };
    let mut read = build.super_packet(0);
    read[1] = 0;
    let mut segments = Segments::new(&mut read, true).unwrap();
    let packet = segments.next().unwrap();
    assert!(clamp_mss(packet, 1312));
    assert_eq!(checksum_of(packet, 20, 6), 0);
}

#[test]
fn a_header_that_announces_something_else_is_an_error() {
    let read = Build::tcp().super_packet(500);
    let with = |at: usize, value: u8| {
        let mut read = read.clone();
        read[at] = value;
        split(&read).unwrap_err()
    };
    assert_eq!(split(&read[..9]), Err(VnetError::Truncated(9).into()));
    assert_eq!(with(1, 3), VnetError::GsoType(3).into());
    assert!(
        matches!(with(1, 4), SegmentError::NotAnnounced { .. }),
        "TCP over IPv6"
    );
    assert!(
        matches!(with(1, 5), SegmentError::NotAnnounced { .. }),
        "UDP"
    );
    assert!(
        matches!(with(16, 0x20), SegmentError::NotAnnounced { .. }),
        "a fragment"
    );
    assert!(matches!(
        with(6, 21),
        SegmentError::ChecksumPlace { start: 21, .. }
    ));
    let mut no_size = read.clone();
    no_size[4..6].fill(0);
    assert_eq!(split(&no_size), Err(SegmentError::ZeroSegment));
    let cut = SegmentError::Headers {
        header: 52,
        length: 51,
    };
    assert_eq!(split(&read[..61]), Err(cut));
    assert_eq!(
        with(42, 0x40),
        SegmentError::Headers {
            header: 36,
            length: 1352
        }
    );
    let mut outside = Build::tcp().super_packet(0);
    outside[1] = 0;
    outside.truncate(10 + 37);
    assert!(matches!(
        split(&outside),
        Err(SegmentError::ChecksumPlace {
            start: 20,
            offset: 16,
            ..
        })
    ));
}
