//! H3: inner packets that lie about their source or their size never reach
//! the server's TUN device, whole or in fragments, and each is counted.

use std::net::{Ipv4Addr, Ipv6Addr};

use conformance::probe::{Session, echo_request, ipv4_packet, udp_packet};
use conformance::{Capture, Config, Lab, Server, wait_until};

use crate::{SECOND, answers, session};

#[test]
fn h3_a_spoofed_source_never_reaches_the_tun_device_and_is_counted() {
    refused_and_counted("src_mismatch", |own, other| {
        let v4 = [
            other,
            Lab::GATEWAY,
            Lab::SERVER,
            Lab::INTERNET,
            Ipv4Addr::new(10, 8, 0, 77),
            Ipv4Addr::new(10, 8, 0, 255),
            Ipv4Addr::LOCALHOST,
            Ipv4Addr::new(224, 0, 0, 1),
            Ipv4Addr::BROADCAST,
            Ipv4Addr::UNSPECIFIED,
        ];
        let v6 = [
            Ipv6Addr::LOCALHOST,
            own.to_ipv6_mapped(),
            "fe80::1".parse().expect("an IPv6 address"),
            "ff02::1".parse().expect("an IPv6 address"),
        ];
        let v4 = v4.map(|source| echo_request(source, Lab::GATEWAY, 99, 56));
        let v6 = v6.map(|source| ipv6_packet(source, 8));
        v4.into_iter().chain(v6).collect()
    });
}

#[test]
fn h3_a_packet_with_false_lengths_never_reaches_the_tun_device_and_is_counted() {
    refused_and_counted("bad_packet", |own, _| {
        let honest = udp_packet((own, 1000), (Lab::GATEWAY, 2000), b"0123456789abcdef");
        let with = |at: usize, bytes: &[u8]| {
            let mut packet = honest.clone();
            packet[at..at + bytes.len()].copy_from_slice(bytes);
            packet
        };
        let right = honest.len() as u16;
        let totals = [0, 1, 19, right - 1, right + 1, 1500, u16::MAX];
        let totals = totals.map(|total| with(2, &total.to_be_bytes()));
        // No version, other versions, header lengths below 20 and beyond the packet.
        let beginnings = [0x05, 0x55, 0x65, 0xf5, 0x40, 0x44, 0x4f].map(|first| with(0, &[first]));
        let mut long_v6 = ipv6_packet(Ipv6Addr::LOCALHOST, 8);
        long_v6[5] = 200;
        let stumps = [vec![0x45], honest[..19].to_vec(), vec![0x60; 39], long_v6];
        let lies = totals.into_iter().chain(beginnings).chain(stumps);
        lies.collect()
    });
}

/// Sends each of these packets whole and in fragments; both ways must count `reason` and end before
/// the TUN.
#[track_caller]
fn refused_and_counted(reason: &str, packets: impl Fn(Ipv4Addr, Ipv4Addr) -> Vec<Vec<u8>>) {
    let lab = Lab::new(2);
    let server = Server::start(&lab.server, Config::server());
    let (mut mine, other) = (session(&lab, 0), session(&lab, 1));
    let packets = packets(mine.inner(), other.inner());
    let capture = Capture::start(&lab.server, "qdt0", |captured| !captured.outgoing);
    let before = server.metrics().drops(reason);
    for (id, packet) in packets.iter().enumerate() {
        mine.send_packet(packet);
        send_in_fragments(&mut mine, id as u32, packet);
    }
    // Nothing overtakes on one connection: with this answered, everything before was judged.
    assert!(answers(&mut mine, SECOND), "and the session lives");
    let counted = server.metrics().drops(reason) - before;
    assert_eq!(counted, 2.0 * packets.len() as f64, "{reason}");
    // The capture may lag behind the answer: the honest request, the last of all, has to show up in
    // it.
    let is_honest =
        |packet: &[u8]| packet.get(9) == Some(&1) && crate::source(packet) == Some(mine.inner());
    wait_until("the honest echo request is captured", 5 * SECOND, || {
        let seen = capture.packets();
        seen.iter().any(|captured| is_honest(&captured.packet))
    });
    let seen = capture.packets();
    assert_eq!(
        seen.len(),
        1,
        "only the honest echo request may be on the device: {seen:?}"
    );
}

fn send_in_fragments(session: &mut Session, id: u32, packet: &[u8]) {
    for (n, data) in packet.chunks(16).enumerate() {
        let offset = n as u32 * 16;
        let fragment = session
            .sealer
            .fragment(id, offset, packet.len() as u32, data);
        session.send(&fragment);
    }
}

/// An IPv6 packet with a payload of that many bytes and of no protocol.
fn ipv6_packet(source: Ipv6Addr, payload: u8) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, payload, 59, 64];
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&Lab::SERVER_V6.octets());
    packet.resize(40 + usize::from(payload), 0);
    packet
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
