//! Congestion marks, and which packets may be lost.

use qdt_proto::packet::{Ecn, echo_request, is_drop_eligible, mark_congestion};

use crate::build::{Build, pattern};
use crate::reference::checksum_of;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The traffic class of a packet of either version.
fn class(packet: &[u8]) -> u8 {
    match packet[0] >> 4 {
        4 => packet[1],
        _ => packet[0] << 4 | packet[1] >> 4,
    }
}

#[test]
fn a_packet_of_a_capable_sender_says_congestion_experienced_and_nothing_else_changes() {
    for build in [Build::tcp(), Build::udp()] {
        for v6 in [false, true] {
            for tos in [0xb9, 0xba, 0xbb] {
                let build = Build {
                    v6,
                    tos,
                    ..build.clone()
                };
                let mut packet = build.packet();
                assert_eq!(mark_congestion(&mut packet), Ecn::Marked);
                assert_eq!(class(&packet), 0xbb, "the upper six bits stay");
                let marked = Build { tos: 0xbb, ..build };
                assert_eq!(packet, marked.packet(), "the header's checksum included");
            }
        }
    }
}

#[test]
fn a_packet_of_a_sender_that_knows_no_marks_stays_as_it_is() {
    for v6 in [false, true] {
        let build = Build {
            v6,
            tos: 0xb8,
            ..Build::tcp()
        };
        let mut packet = build.packet();
        assert_eq!(mark_congestion(&mut packet), Ecn::NotCapable);
        assert_eq!(packet, build.packet());
    }
}

#[test]
fn a_wrong_checksum_stays_as_wrong_as_it_was() {
    let mut packet = Build {
        tos: 1,
        ..Build::tcp()
    }
    .packet();
    packet[10] ^= 0x40;
    let header = packet[..20].to_vec();
    let before = crate::build::slow_checksum(&[&header]);
    mark_congestion(&mut packet);
    assert_eq!(crate::build::slow_checksum(&[&packet[..20]]), before);
    assert_eq!(checksum_of(&packet, 20, 6), 0, "TCP's does not cover it");
}

#[test]
fn what_is_no_ip_packet_is_neither_marked_nor_touched() {
    for bytes in [&[][..], &[0x45; 19], &[0x6f; 39], &[0xff; 60]] {
        let mut packet = bytes.to_vec();
        assert_eq!(mark_congestion(&mut packet), Ecn::NotCapable);
        assert_eq!(packet, bytes);
        let _ = is_drop_eligible(&packet);
    }
}

#[test]
fn full_packets_of_a_running_connection_are_drop_eligible() {
    for v6 in [false, true] {
        for build in [Build::tcp(), Build::udp()] {
            assert!(is_drop_eligible(&Build { v6, ..build }.packet()));
        }
    }
}

#[test]
fn small_packets_are_not() {
    for length in [0, 1, 100, 148] {
        let packet = Build {
            payload: pattern(length, 0),
            ..Build::tcp()
        }
        .packet();
        assert!(!is_drop_eligible(&packet), "{length} bytes");
    }
}

#[test]
fn what_opens_or_ends_a_connection_is_not_even_with_data() {
    for v6 in [false, true] {
        for flags in [SYN, SYN | ACK, FIN | ACK, RST] {
            let build = Build {
                v6,
                flags,
                ..Build::tcp()
            };
            assert!(!is_drop_eligible(&build.packet()));
        }
    }
}

#[test]
fn icmp_is_not_however_long() {
    let mut echo = vec![0; 1300];
    let address = [10, 8, 0, 2].into();
    let mut head = [0; qdt_proto::packet::ECHO_LEN];
    echo_request(address, address, 1, 1, &mut head);
    echo[..head.len()].copy_from_slice(&head);
    let total = (echo.len() as u16).to_be_bytes();
    echo[2..4].copy_from_slice(&total);
    assert!(!is_drop_eligible(&echo));
}
