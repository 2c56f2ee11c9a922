//! ICMP: packet too big, and echo.

use std::net::{IpAddr, Ipv4Addr};

use qdt_proto::packet::{
    ECHO_LEN, InnerPacket, echo_reply_sequence, echo_request, icmp_packet_too_big,
};

use crate::build::{Build, slow_checksum};
use crate::reference::{checksum_of, sound_ipv4};

const GATEWAY_4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 8, 0, 1));

fn gateway_6() -> IpAddr {
    "fd00::1".parse().unwrap()
}

fn too_big(original: &[u8], source: IpAddr) -> Option<Vec<u8>> {
    let mut out = [0xaa; 1400];
    icmp_packet_too_big(original, 1200, source, &mut out).map(|length| out[..length].to_vec())
}

#[test]
fn a_packet_with_df_is_answered_by_fragmentation_needed_with_the_mtu() {
    let original = Build::tcp().packet();
    let answer = too_big(&original, GATEWAY_4).unwrap();
    let view = InnerPacket::parse(&answer).unwrap();
    assert_eq!(
        (view.source(), view.destination()),
        (GATEWAY_4, "10.8.0.2".parse().unwrap())
    );
    assert_eq!(view.protocol(), Some(1));
    assert_eq!(answer.len(), 576);
    assert!(sound_ipv4(&answer));
    assert_eq!(slow_checksum(&[&answer[20..]]), 0);
    assert_eq!(answer[20..22], [3, 4]);
    assert_eq!(answer[24..28], [0, 0, 0x04, 0xb0]);
    assert_eq!(answer[28..], original[..548]);
}

#[test]
fn an_ipv6_packet_is_answered_by_packet_too_big_with_the_mtu() {
    let original = Build {
        v6: true,
        payload: vec![5; 1350],
        ..Build::udp()
    }
    .packet();
    let answer = too_big(&original, gateway_6()).unwrap();
    let view = InnerPacket::parse(&answer).unwrap();
    assert_eq!(
        (view.source(), view.destination()),
        (gateway_6(), "fd00::2".parse().unwrap())
    );
    assert_eq!(view.protocol(), Some(58));
    assert_eq!(answer.len(), 1280);
    assert_eq!(checksum_of(&answer, 40, 58), 0);
    assert_eq!(answer[40..42], [2, 0]);
    assert_eq!(answer[44..48], [0, 0, 0x04, 0xb0]);
    assert_eq!(answer[48..], original[..1232]);
}

#[test]
fn a_short_packet_is_quoted_whole() {
    let original = Build {
        payload: vec![1; 3],
        ..Build::udp()
    }
    .packet();
    assert_eq!(too_big(&original, GATEWAY_4).unwrap()[28..], original);
}

#[test]
fn a_packet_that_may_be_fragmented_is_not_answered() {
    assert_eq!(
        too_big(
            &Build {
                fragment: 0,
                ..Build::tcp()
            }
            .packet(),
            GATEWAY_4
        ),
        None
    );
}

#[test]
fn continuation_fragments_are_not_answered() {
    assert_eq!(
        too_big(
            &Build {
                fragment: 0x4003,
                ..Build::tcp()
            }
            .packet(),
            GATEWAY_4
        ),
        None
    );
}

#[test]
fn icmp_errors_are_not_answered_but_questions_are() {
    let v4 = [
        (3, false),
        (4, false),
        (5, false),
        (11, false),
        (12, false),
        (8, true),
        (0, true),
    ];
    let v6 = [
        (1, false),
        (2, false),
        (3, false),
        (127, false),
        (137, false),
        (128, true),
        (129, true),
    ];
    for (kind, answered) in v4 {
        let mut packet = Build::udp().packet();
        (packet[9], packet[20]) = (1, kind);
        assert_eq!(
            too_big(&packet, GATEWAY_4).is_some(),
            answered,
            "ICMP type {kind}"
        );
    }
    for (kind, answered) in v6 {
        let mut packet = Build {
            v6: true,
            ..Build::udp()
        }
        .packet();
        (packet[6], packet[40]) = (58, kind);
        assert_eq!(
            too_big(&packet, gateway_6()).is_some(),
            answered,
            "ICMPv6 type {kind}"
        );
    }
}

#[test]
fn an_answer_to_an_answer_does_not_exist() {
    let answer = too_big(&Build::tcp().packet(), GATEWAY_4).unwrap();
    assert_eq!(too_big(&answer, "10.8.0.9".parse().unwrap()), None);
    let answer = too_big(
        &Build {
            v6: true,
            ..Build::tcp()
        }
        .packet(),
        gateway_6(),
    )
    .unwrap();
    assert_eq!(too_big(&answer, gateway_6()), None);
}

#[test]
fn senders_that_are_not_one_host_get_no_answer() {
    for source in [
        [0, 0, 0, 0],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
    ] {
        let mut packet = Build::tcp().packet();
        packet[12..16].copy_from_slice(&source);
        assert_eq!(too_big(&packet, GATEWAY_4), None, "{source:?}");
    }
    let mut to_many = Build::udp().packet();
    to_many[16..20].copy_from_slice(&[239, 1, 1, 1]);
    assert_eq!(too_big(&to_many, GATEWAY_4), None);
    let mut unspecified = Build {
        v6: true,
        ..Build::tcp()
    }
    .packet();
    unspecified[8..24].fill(0);
    assert_eq!(too_big(&unspecified, gateway_6()), None);
}

#[test]
fn the_versions_of_packet_and_answer_must_agree_and_the_room_must_do() {
    let packet = Build::tcp().packet();
    assert_eq!(too_big(&packet, gateway_6()), None);
    assert_eq!(
        icmp_packet_too_big(&packet, 1200, GATEWAY_4, &mut [0; 55]),
        None
    );
    assert_eq!(
        icmp_packet_too_big(&packet, 1200, GATEWAY_4, &mut [0; 56]),
        Some(56)
    );
}

#[test]
fn the_answer_to_an_echo_request_is_recognised() {
    let (us, gateway) = (Ipv4Addr::new(10, 8, 0, 2), Ipv4Addr::new(10, 8, 0, 1));
    let mut packet = [0xff; 100];
    assert_eq!(
        echo_request(us.into(), gateway.into(), 77, 9, &mut packet),
        Some(ECHO_LEN)
    );
    let packet = &mut packet[..ECHO_LEN];
    assert!(sound_ipv4(packet));
    assert_eq!(slow_checksum(&[&packet[20..]]), 0);
    assert_eq!(
        echo_reply_sequence(packet, 77),
        None,
        "a request is no reply"
    );
    // What the gateway makes of it (RFC 1122 section 3.2.2.6).
    packet[12..16].copy_from_slice(&gateway.octets());
    packet[16..20].copy_from_slice(&us.octets());
    packet[20] = 0;
    packet[22..24].fill(0);
    let checksum = slow_checksum(&[&packet[20..]]);
    packet[22..24].copy_from_slice(&checksum.to_be_bytes());
    assert!(sound_ipv4(packet));
    assert_eq!(echo_reply_sequence(packet, 77), Some(9));
    assert_eq!(echo_reply_sequence(packet, 78), None, "somebody else's");
    for at in 20..ECHO_LEN {
        let mut flipped = packet.to_vec();
        flipped[at] ^= 1;
        assert_eq!(
            echo_reply_sequence(&flipped, 77),
            None,
            "byte {at} is not what was sent"
        );
    }
    assert_eq!(
        echo_request(us.into(), gateway.into(), 1, 1, &mut [0; ECHO_LEN - 1]),
        None
    );
}
