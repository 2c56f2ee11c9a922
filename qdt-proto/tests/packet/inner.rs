//! What is an inner packet and what is not.

use std::net::IpAddr;

use qdt_proto::packet::{InnerError, InnerPacket};

use crate::build::Build;

#[test]
fn a_whole_ipv4_packet_tells_its_addresses_and_protocol() {
    let packet = Build::tcp().packet();
    let view = InnerPacket::parse(&packet).unwrap();
    assert_eq!(view.source(), "10.8.0.2".parse::<IpAddr>().unwrap());
    assert_eq!(view.destination(), "10.8.0.1".parse::<IpAddr>().unwrap());
    assert_eq!(view.protocol(), Some(6));
    assert_eq!(view.bytes(), packet);
}

#[test]
fn a_whole_ipv6_packet_tells_its_addresses_and_protocol() {
    let packet = Build {
        v6: true,
        ..Build::udp()
    }
    .packet();
    let view = InnerPacket::parse(&packet).unwrap();
    assert_eq!(view.source(), "fd00::2".parse::<IpAddr>().unwrap());
    assert_eq!(view.destination(), "fd00::1".parse::<IpAddr>().unwrap());
    assert_eq!(view.protocol(), Some(17));
}

#[test]
fn the_protocol_of_ipv6_is_the_one_behind_the_extension_headers() {
    // Hop-by-hop, routing, atomic fragment, authentication (its length in other units),
    // destination.
    let chain = [
        [43, 0, 1, 4, 0, 0, 0, 0].as_slice(),
        &[44, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[51, 0, 0, 0, 0, 0, 0, 1],
        &[
            60, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
        ],
        &[17, 0, 1, 4, 0, 0, 0, 0],
    ]
    .concat();
    let mut packet = Build {
        v6: true,
        ..Build::udp()
    }
    .packet();
    packet.splice(40..40, chain);
    packet[6] = 0;
    let payload = (packet.len() - 40) as u16;
    packet[4..6].copy_from_slice(&payload.to_be_bytes());
    assert_eq!(InnerPacket::parse(&packet).unwrap().protocol(), Some(17));
    packet[41] = 255;
    assert_eq!(
        InnerPacket::parse(&packet).unwrap().protocol(),
        None,
        "the chain is cut off"
    );
}

#[test]
fn a_total_length_that_is_too_long_too_short_or_zero_is_an_error() {
    for v6 in [false, true] {
        let packet = Build { v6, ..Build::tcp() }.packet();
        let (field, header) = if v6 { (4, 40) } else { (2, 0) };
        for length in [packet.len() + 1, packet.len() - 1, header, header + 1] {
            let mut lie = packet.clone();
            lie[field..field + 2].copy_from_slice(&((length - header) as u16).to_be_bytes());
            let expected = InnerError::TotalLength {
                stated: length,
                actual: packet.len(),
            };
            assert_eq!(InnerPacket::parse(&lie), Err(expected));
        }
    }
}

#[test]
fn headers_that_are_cut_off_or_too_short_are_errors() {
    assert_eq!(InnerPacket::parse(&[]), Err(InnerError::Empty));
    assert_eq!(InnerPacket::parse(&[0x55; 40]), Err(InnerError::Version(5)));
    assert_eq!(
        InnerPacket::parse(&[0x44; 40]),
        Err(InnerError::HeaderLength(16))
    );
    let cut = Err(InnerError::Truncated {
        length: 23,
        header: 24,
    });
    assert_eq!(InnerPacket::parse(&[0x46; 23]), cut);
    let cut = Err(InnerError::Truncated {
        length: 39,
        header: 40,
    });
    assert_eq!(InnerPacket::parse(&[0x60; 39]), cut);
}
