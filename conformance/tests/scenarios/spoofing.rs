//! H3: inner packets that lie about their source or their size never reach
//! the server's TUN device, and are counted.

use std::net::Ipv4Addr;

use conformance::probe::{echo_request, ipv4_packet, udp_packet};
use conformance::{Capture, Config, Lab, Server, wait_until};

use crate::{SECOND, answers, session};

#[test]
fn a_spoofed_source_never_reaches_the_tun_device_and_is_counted() {
    let lab = Lab::new(2);
    let server = Server::start(&lab.server, Config::server());
    let mut mine = session(&lab, 0);
    let other = session(&lab, 1);
    let capture = Capture::start(&lab.server, "qdt0", |captured| !captured.outgoing);
    let sources = [
        other.inner(),
        Lab::GATEWAY,
        Lab::SERVER,
        Ipv4Addr::new(10, 8, 0, 77),
        Ipv4Addr::new(127, 0, 0, 1),
        Ipv4Addr::new(224, 0, 0, 1),
        Ipv4Addr::BROADCAST,
        Ipv4Addr::UNSPECIFIED,
    ];
    for source in sources {
        mine.send_packet(&echo_request(source, Lab::GATEWAY, 99, 56));
    }
    let dropped = sources.len() as f64;
    wait_until(
        "every spoofed packet is counted as src_mismatch",
        2 * SECOND,
        || server.metrics().drops("src_mismatch") >= dropped,
    );
    assert!(answers(&mut mine, SECOND), "and the session lives");
    let seen = capture.packets();
    assert!(
        seen.iter()
            .all(|captured| crate::source(&captured.packet) == Some(mine.inner())),
        "{} packets on the device",
        seen.len()
    );
}

#[test]
fn a_packet_whose_lengths_lie_never_reaches_the_tun_device_and_is_counted() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    let mut mine = session(&lab, 0);
    let inner = mine.inner();
    let capture = Capture::start(&lab.server, "qdt0", |captured| !captured.outgoing);
    let honest = udp_packet((inner, 1000), (Lab::GATEWAY, 2000), b"0123456789abcdef");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut packet = honest.clone();
        change(&mut packet);
        packet
    };
    let total =
        |length: u16| with(&move |packet| packet[2..4].copy_from_slice(&length.to_be_bytes()));
    let lies = [
        total(0),
        total(19),
        total(honest.len() as u16 + 1),
        total(honest.len() as u16 - 1),
        total(u16::MAX),
        with(&|packet| packet[0] = 0x44),
        with(&|packet| packet[0] = 0x4f),
        with(&|packet| packet[0] = 0x55),
        with(&|packet| packet[0] = 0x05),
        vec![0x45],
        vec![0x45; 19],
        vec![0; 40],
        ipv6_packet(),
    ];
    let before = server.metrics();
    for lie in &lies {
        mine.send_packet(lie);
    }
    wait_until("every lie is counted", 2 * SECOND, || {
        let now = server.metrics();
        ["bad_packet", "src_mismatch", "decode"]
            .iter()
            .map(|reason| now.drops(reason) - before.drops(reason))
            .sum::<f64>()
            >= lies.len() as f64
    });
    assert!(answers(&mut mine, SECOND), "and the session lives");
    let seen = capture.packets();
    assert!(
        seen.iter()
            .all(|captured| captured.packet.get(9) == Some(&1)),
        "only the echo request may be on the device, there are {seen:?}"
    );
}

#[test]
fn a_packet_to_a_multicast_or_broadcast_address_harms_nothing() {
    let lab = Lab::new(2);
    let _server = Server::start(&lab.server, Config::server());
    let mut mine = session(&lab, 0);
    let other = session(&lab, 1);
    for destination in [
        Ipv4Addr::new(224, 0, 0, 251),
        Ipv4Addr::BROADCAST,
        Ipv4Addr::new(10, 8, 0, 255),
        other.inner(),
    ] {
        let packet = ipv4_packet(mine.inner(), destination, 17, &[0, 9, 0, 9, 0, 8, 0, 0]);
        mine.send_packet(&packet);
    }
    assert!(answers(&mut mine, SECOND));
    let reached = other.receive_packet(SECOND / 2, |packet| packet.get(9) == Some(&17));
    assert!(reached.is_none(), "another client got {reached:?}");
}

/// An IPv6 packet without payload.
fn ipv6_packet() -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x60;
    packet[6] = 59;
    packet[7] = 64;
    packet[8] = 0xfd;
    packet[24] = 0xfd;
    packet
}
