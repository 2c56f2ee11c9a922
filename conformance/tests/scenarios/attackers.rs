//! Attackers without the token: U2 to U6.

use std::net::{Ipv4Addr, UdpSocket};

use conformance::probe::{Probe, Session, SessionOptions, udp_packet};
use conformance::{Capture, Client, Config, Lab, RawIp, Server, at_full_length, ping, wait_until};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::{SECOND, SERVER, pair, pings};

/// A number of the promise, or a tenth of it.
fn amount(full: usize) -> usize {
    if at_full_length() { full } else { full / 10 }
}

/// A QUIC version 1 Initial (RFC 9000, 17.2.2) whose payload decrypts to
/// nothing.
fn initial(random: &mut SmallRng) -> Vec<u8> {
    let mut packet = vec![0xc3, 0, 0, 0, 1, 8];
    packet.extend_from_slice(&random.random::<[u8; 8]>());
    packet.push(8);
    packet.extend_from_slice(&random.random::<[u8; 8]>());
    packet.push(0);
    let rest = 1200 - packet.len() - 2;
    packet.extend_from_slice(&(rest as u16 | 0x4000).to_be_bytes());
    packet.extend((0..rest).map(|_| random.random::<u8>()));
    packet
}

/// U2.
#[test]
fn spoofed_initials_that_do_not_decrypt_are_not_amplified_and_cost_no_memory() {
    let lab = Lab::new(2);
    let (server, _client) = pair(&lab);
    let raw = RawIp::open(&lab.clients[1]);
    let mut random = SmallRng::seed_from_u64(1);
    let before = server.metrics().resident_bytes();
    let (received, sent) = lab.server.bytes("eth0");
    for n in 0..amount(200_000) as u32 {
        let source = Ipv4Addr::from(0x0a4d_0100 + 3 + n % 200);
        let port = 1024 + (n % 60_000) as u16;
        let _ = raw.send(&udp_packet(
            (source, port),
            (Lab::SERVER, 443),
            &initial(&mut random),
        ));
    }
    // The server is done with them when it answers again.
    wait_until("another client connects", 10 * SECOND, || {
        Session::open(&lab.clients[1], SERVER, &SessionOptions::default()).is_ok()
    });
    let (received_after, sent_after) = lab.server.bytes("eth0");
    let (received, sent) = (received_after - received, sent_after - sent);
    assert!(
        received > 1_000_000,
        "the attack did not arrive: {received} bytes"
    );
    assert!(sent <= 3 * received, "{sent} bytes out for {received} in");
    let grown = server.metrics().resident_bytes() - before;
    assert!(grown < 64e6, "memory grew by {grown} bytes");
}

/// U3.
#[test]
fn connections_without_a_request_are_closed_within_ten_seconds() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    let before = server.metrics().resident_bytes();
    let endpoint = Probe::endpoint(&lab.clients[0], SERVER);
    let silent: Vec<_> = (0..amount(2_000))
        .filter_map(|_| Probe::connect_on(&endpoint, SERVER).ok())
        .collect();
    assert!(!silent.is_empty());
    wait_until("every silent connection is closed", 10 * SECOND, || {
        silent.iter().all(|probe| !probe.is_open())
    });
    let grown = server.metrics().resident_bytes() - before;
    assert!(grown < 64e6, "memory grew by {grown} bytes");
    assert!(Session::open(&lab.clients[0], SERVER, &SessionOptions::default()).is_ok());
}

/// U4.
#[test]
fn endless_headers_and_bodies_are_bounded_before_authentication() {
    let lab = Lab::new(2);
    let server = Server::start(&lab.server, Config::server());
    let before = server.metrics().resident_bytes();
    let mut peak = before;
    // A HEADERS frame of a gigabyte, and one of 200 bytes of a field section that
    // never was, before endless DATA.
    let headers: &[u8] = &[1, 0xc0, 0, 0, 0, 0x40, 0, 0, 0];
    let unknown: &[u8] = &[0x21, 0xc0, 0, 0, 0, 0x40, 0, 0, 0];
    let attackers: Vec<_> = (0..100)
        .filter_map(|n| {
            let probe = Probe::connect_silently(&lab.clients[0], SERVER).ok()?;
            probe.flood_streams(
                32,
                if n % 2 == 0 { headers } else { unknown },
                &[b'a'; 16_384],
            );
            Some(probe)
        })
        .collect();
    assert!(
        attackers.len() > 10,
        "only {} attackers got a connection",
        attackers.len()
    );
    wait_until("every attacker is gone", 20 * SECOND, || {
        peak = peak.max(server.metrics().resident_bytes());
        attackers.iter().all(|probe| !probe.is_open())
    });
    assert!(
        peak - before < 64e6,
        "memory grew by {} bytes",
        peak - before
    );
    assert!(Session::open(&lab.clients[1], SERVER, &SessionOptions::default()).is_ok());
}

fn wrong(n: usize) -> SessionOptions {
    let token = format!("guess-number-{n}-of-many-guesses").into_bytes();
    SessionOptions {
        token,
        ..SessionOptions::default()
    }
}

/// U5: one address.
#[test]
fn guesses_from_one_address_are_limited_and_others_are_not() {
    let lab = Lab::new(2);
    let config = Config::server().set("handshake_ip_rate", "{pps: 1, burst: 10, ttl: 1m}");
    let server = Server::start(&lab.server, config);
    let start = std::time::Instant::now();
    for n in 0..amount(1_000) {
        let probe = Probe::connect(&lab.clients[0], SERVER);
        let Err(refused) = Session::open_on(probe, &wrong(n)) else {
            panic!("guess {n} got a session");
        };
        let status = refused.0.status;
        assert!(
            matches!(status, 401 | 429),
            "guess {n} was answered {status}"
        );
    }
    let metrics = server.metrics();
    let judged = metrics.handshakes("unauthorized");
    let allowed = 10.0 + start.elapsed().as_secs_f64() + 1.0;
    assert!(
        judged <= allowed,
        "{judged} guesses were judged, {allowed} allowed"
    );
    assert!(metrics.handshakes("rate_limited") > 0.0);
    assert!(Session::open(&lab.clients[1], SERVER, &SessionOptions::default()).is_ok());
}

/// U5: the addresses of one /64 count as one.
#[test]
fn guesses_from_many_addresses_of_one_64_are_limited_together() {
    let lab = Lab::new(1);
    let config = Config::server().set("handshake_ip_rate", "{pps: 1, burst: 10, ttl: 1m}");
    let server = Server::start(&lab.server, config);
    lab.clients[0].sysctl("net/ipv6/ip_nonlocal_bind", "1");
    lab.edge
        .ip("-6 route add 2001:db8:77:aaaa::/64 via 2001:db8:77:0::2");
    lab.clients[0].ip("-6 route add local 2001:db8:77:aaaa::/64 dev lo");
    let target = std::net::SocketAddr::from((Lab::SERVER_V6, 443));
    let start = std::time::Instant::now();
    for n in 0..amount(1_000) {
        let source = format!("2001:db8:77:aaaa::{:x}", n + 1);
        let probe = Probe::connect_from(&lab.clients[0], &source, target);
        assert!(
            Session::open_on(probe, &wrong(n)).is_err(),
            "guess {n} got a session"
        );
    }
    let judged = server.metrics().handshakes("unauthorized");
    let allowed = 10.0 + start.elapsed().as_secs_f64() + 1.0;
    assert!(
        judged <= allowed,
        "{judged} guesses were judged, {allowed} allowed"
    );
}

/// U6: bytes that are no QUIC at all.
#[test]
fn junk_on_the_udp_port_harms_no_session() {
    let lab = Lab::new(2);
    let (mut server, client) = pair(&lab);
    let before = server.metrics();
    let socket = lab.clients[1]
        .enter(|| UdpSocket::bind("0.0.0.0:0"))
        .expect("a UDP socket");
    let mut random = SmallRng::seed_from_u64(2);
    let mut junk = [0_u8; 1500];
    for _ in 0..amount(1_000_000) {
        let length = random.random_range(0..1472);
        random.fill(&mut junk[..length.min(64)]);
        let _ = socket.send_to(&junk[..length], SERVER);
    }
    assert!(pings(&client));
    assert!(server.ended().is_none());
    let grown = server.metrics().resident_bytes() - before.resident_bytes();
    assert!(grown < 64e6, "memory grew by {grown} bytes");
    assert_eq!(server.metrics().sessions(), 1.0);
}

/// U6: stateless resets, version negotiation and ICMP errors of somebody who
/// sees addresses and ports, but no keys.
#[test]
fn forged_resets_version_negotiation_and_icmp_end_no_session() {
    let lab = Lab::new(1);
    let capture = Capture::start(&lab.core, "mid", |captured| {
        !captured.outgoing && captured.packet.get(9) == Some(&17)
    });
    let (server, client) = pair(&lab);
    let seen = capture.wait_for("a packet of the client", SECOND, |captured| {
        captured.packet.len() > 60
    });
    let port = u16::from_be_bytes([seen.packet[20], seen.packet[21]]);
    let (there, here) = ((Lab::SERVER, 443), (Lab::client_address(0), port));
    // A client in a hurry may have dialled twice at the start; from here on it may not.
    let before = server.metrics().handshakes("ok");
    let raw = RawIp::open(&lab.core);
    let mut random = SmallRng::seed_from_u64(3);
    for _ in 0..1_000 {
        let mut reset: Vec<u8> = (0..random.random_range(21..100))
            .map(|_| random.random())
            .collect();
        reset[0] = 0x40 | reset[0] & 0x3f;
        let mut negotiation = vec![0x80, 0, 0, 0, 0, 8];
        negotiation.extend_from_slice(&random.random::<[u8; 8]>());
        negotiation.push(8);
        negotiation.extend_from_slice(&random.random::<[u8; 8]>());
        negotiation.extend_from_slice(&[0x6b, 0x33, 0x43, 0xcf]);
        for payload in [reset, negotiation] {
            let _ = raw.send(&udp_packet(there, here, &payload));
            let _ = raw.send(&udp_packet(here, there, &payload));
        }
    }
    for code in 0..16 {
        for (from, to) in [(here, there), (there, here)] {
            // Destination unreachable about a packet `from` -> `to`, sent to `from`.
            let mut message = vec![3, code, 0, 0, 0, 0, 0x00, 0x44];
            message.extend_from_slice(&udp_packet(from, to, b"")[..28]);
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
            let icmp =
                conformance::probe::ipv4_packet(Ipv4Addr::new(172, 31, 0, 1), from.0, 1, &message);
            let _ = raw.send(&icmp);
        }
    }
    for _ in 0..20 {
        assert!(pings(&client));
    }
    let full = client.device_mtu() - 28;
    assert!(
        ping(client.machine(), Lab::GATEWAY.into(), full, SECOND).is_some(),
        "full packets"
    );
    assert_eq!(
        server.metrics().handshakes("ok"),
        before,
        "the session is the first one still"
    );
}

/// A client that is refused by the limiter comes in later.
#[test]
fn a_client_that_is_rate_limited_retries_and_gets_in() {
    let lab = Lab::new(1);
    let config = Config::server().set("handshake_ip_rate", "{pps: 1, burst: 2, ttl: 1m}");
    let _server = Server::start(&lab.server, config);
    let _spent: Vec<_> = (0..2)
        .filter_map(|_| Session::open(&lab.clients[0], SERVER, &SessionOptions::default()).ok())
        .collect();
    let client = Client::start(&lab.clients[0], Config::client());
    assert!(pings(&client));
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
