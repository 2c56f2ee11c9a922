//! Attackers without the token: they cost the server little, learn nothing, and do not disturb
//! other clients (promises U2 to U6).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use conformance::probe::{Exchange, Probe, Session, SessionOptions, ipv4_packet, udp_packet};
use conformance::{
    Capture, Client, Config, Initials, JunkSender, Lab, Machine, Pinger, RawIp, Server, Token,
    connection_burst, in_parallel, many_addresses, receive_queue_drained, resident_bytes,
    session_lines, stay_silent, wait_for, wait_until,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use crate::{MIB, SECOND, SERVER, unlimited};

/// Memory that the server holds for a peer is given back when the peer is gone, up to what an
/// allocator keeps.
const KEPT_BY_THE_ALLOCATOR: u64 = 24 * MIB;

#[test]
fn u2_200_000_spoofed_initials_are_not_amplified_and_hold_no_memory_and_clients_connect_by_retry() {
    const SPOOFED: u32 = 200_000;
    let lab = Lab::new(1);
    let mut server = Server::start(&lab.server, Config::server());
    let sender = RawIp::open(&lab.core);
    let mut initials = Initials::new(2);
    let before = resident_bytes(&server);
    let (received, sent) = lab.server.bytes("eth0");

    // A few that decrypt are answered as if they were meant: for each of them three times its bytes
    // at most.
    let answers = Capture::start(&lab.server, "eth0", |captured| {
        captured.outgoing && is_udp(&captured.packet) && captured.packet[16..19] == [198, 18, 0]
    });
    for n in 0..100 {
        let packet = initials.decryptable();
        let _ = sender.send(&udp_packet(
            (Ipv4Addr::new(198, 18, 0, n), 4433),
            (Lab::SERVER, 443),
            &packet,
        ));
    }
    // Then very many of both kinds: from some on an address has to be proven.
    let retries = Capture::start(&lab.server, "eth0", |captured| {
        captured.outgoing
            && is_udp(&captured.packet)
            && captured.packet.get(28).is_some_and(is_retry)
    });
    let mut peak = 0;
    let mut client = None;
    for n in 0..SPOOFED {
        let packet = if n % 2 == 0 {
            initials.undecryptable()
        } else {
            initials.decryptable()
        };
        let from = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 19, 0, 0)) + n % 65_536);
        let _ = sender.send(&udp_packet(
            (from, 1024 + (n % 60_000) as u16),
            (Lab::SERVER, 443),
            &packet,
        ));
        // No faster than the server reads: what its socket drops is not an attack.
        if n % 1_000 == 999 {
            receive_queue_drained(&lab.server, 443);
            peak = peak.max(resident_bytes(&server));
        }
        if n == SPOOFED / 2 {
            client = Some(Client::start(&lab.clients[0], Config::client()));
        }
    }
    drop(client);

    assert_eq!(server.ended(), None, "the server runs");
    let growth = peak.saturating_sub(before) / MIB;
    assert!(growth < 64, "resident memory grew by {growth} MiB");
    assert!(
        !retries.packets().is_empty(),
        "addresses have to be proven under load"
    );
    // What was answered is sent again for a while, until it is given up.
    let mut seen = (answers.packets().len(), Instant::now());
    wait_until("the answers have ended", 30 * SECOND, || {
        let now = answers.packets().len();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        seen.1.elapsed() > 3 * SECOND
    });
    let mut bytes = HashMap::new();
    for captured in answers.packets() {
        let destination: [u8; 4] = captured.packet[16..20].try_into().expect("four bytes");
        *bytes.entry(destination).or_insert(0) += captured.packet.len() - 28;
    }
    assert!(!bytes.is_empty(), "Initials that decrypt are answered");
    for (destination, bytes) in bytes {
        assert!(
            bytes <= 3 * 1200,
            "{destination:?} got {bytes} bytes for 1200"
        );
    }
    let (received_after, sent_after) = lab.server.bytes("eth0");
    let (received, sent) = (received_after - received, sent_after - sent);
    assert!(received > u64::from(SPOOFED) * 1200);
    assert!(sent <= 3 * received, "{sent} bytes for {received}");
}

fn is_udp(packet: &[u8]) -> bool {
    packet.len() > 28 && packet[0] == 0x45 && packet[9] == 17
}

/// The first byte of a Retry packet of version 1 (RFC 9000 section 17.2.5).
fn is_retry(first: &u8) -> bool {
    first & 0xf0 == 0xf0
}

#[test]
fn u3_2_000_silent_connections_are_closed_after_ten_seconds_and_their_memory_is_released() {
    let lab = Lab::new(1);
    let mut server = Server::start(&lab.server, Config::server());
    let endpoints = many_addresses(&lab, 50);
    let before = resident_bytes(&server);
    // In groups, so that they go one after the other, too.
    let groups = (0..16).flat_map(|_| connection_burst(&endpoints, SERVER, 125));
    let silent: Vec<_> = groups.collect();
    assert!(silent.len() >= 1_990, "only {} connected", silent.len());
    wait_until("every silent connection is closed", 10 * SECOND, || {
        silent.iter().all(|probe| !probe.is_open())
    });
    drop(silent);
    assert_eq!(server.ended(), None, "the server runs");
    wait_until("their memory is back", 10 * SECOND, || {
        resident_bytes(&server) < before + KEPT_BY_THE_ALLOCATOR
    });
    // The system gathers small pages into huge ones every ten seconds, where it is allowed to.
    stay_silent(11 * SECOND);
    let kept = resident_bytes(&server).saturating_sub(before);
    assert!(kept < KEPT_BY_THE_ALLOCATOR, "{kept} bytes are back again");
    assert!(gets_a_session(&lab.clients[0]));
}

#[test]
fn u4_endless_headers_and_bodies_on_32_streams_of_100_connections_hold_little_memory() {
    let lab = Lab::new(2);
    let mut server = Server::start(&lab.server, unlimited());
    let before = resident_bytes(&server);
    let probes = connection_burst(&many_addresses(&lab, 4), SERVER, 100);
    assert_eq!(probes.len(), 100);
    for (probe, beginning) in probes.iter().zip(floods().iter().cycle()) {
        probe.flood_streams(32, beginning, &[b' '; 4096]);
    }
    closed_within_12_seconds(&mut server, before, &probes);
    assert!(gets_a_session(&lab.clients[1]));
}

#[test]
fn u4_headers_that_stop_short_of_their_end_hold_little_memory() {
    let lab = Lab::new(1);
    let mut server = Server::start(&lab.server, unlimited());
    let before = resident_bytes(&server);
    let probes = connection_burst(&many_addresses(&lab, 4), SERVER, 100);
    assert_eq!(probes.len(), 100);
    // A HEADERS frame of 16 KiB, nearly all of it: as much as a server has to keep.
    let mut beginning = vec![0x01, 0x80, 0, 0x40, 0];
    beginning.resize(16_380, 0x20);
    let held = in_parallel(probes.iter().collect(), |probe| {
        let mut streams = Vec::new();
        while let Ok(Some(stream)) = probe.open_stream() {
            let mut exchange = Exchange::from(stream);
            if streams.len() == 32 || !exchange.write(&beginning) {
                break;
            }
            streams.push(exchange);
        }
        streams
    });
    assert!(held.iter().any(|streams| !streams.is_empty()));
    closed_within_12_seconds(&mut server, before, &probes);
    assert!(gets_a_session(&lab.clients[0]));
}

/// Waits until the server has closed all these connections and looks at its memory meanwhile.
#[track_caller]
fn closed_within_12_seconds(server: &mut Server<'_>, before: u64, probes: &[Probe]) {
    let mut peak = 0;
    wait_until("every connection is closed", 12 * SECOND, || {
        peak = peak.max(resident_bytes(server));
        probes.iter().all(|probe| !probe.is_open())
    });
    assert_eq!(server.ended(), None, "the server runs");
    let growth = peak.saturating_sub(before) / MIB;
    assert!(growth < 64, "resident memory grew by {growth} MiB");
}

/// What endless streams begin with.
fn floods() -> [Vec<u8>; 4] {
    // 2^30-1, as a varint: the length of a HEADERS frame, of DATA behind heads that are right and
    // wrong, and of a frame of a type that does not exist.
    let long = [0xbf, 0xff, 0xff, 0xff];
    let body = |token: &[u8]| [&head(token)[..], &[0x00], &long].concat();
    [
        [&[0x01], &long[..]].concat(),
        body(b"not the token at all"),
        body(Token::TEXT.as_bytes()),
        [&[0x21], &long[..]].concat(),
    ]
}

/// The HEADERS frame of a request for a session.
fn head(token: &[u8]) -> Vec<u8> {
    let mut section = qdt_proto::http3::FieldSectionEncoder::new();
    let fields: [(&[u8], &[u8]); 5] = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", b"qdt.test"),
        (b":path", b"/connect"),
        (b"x-qdt-token", token),
    ];
    for (name, value) in fields {
        section.field(name, value);
    }
    let section = section.finish();
    let length = u16::try_from(section.len()).expect("a short head") | 0x4000;
    [&[0x01], &length.to_be_bytes()[..], &section].concat()
}

#[test]
fn u5_1_000_guesses_from_one_address_are_limited_and_other_clients_connect() {
    let lab = Lab::new(2);
    let server = Server::start(&lab.server, Config::server());
    let start = Instant::now();
    let endpoint = Probe::endpoint(&lab.clients[0], SERVER);
    let statuses: Vec<u16> = (0..40)
        .flat_map(|_| {
            let probe = Probe::connect_on(&endpoint, SERVER).expect("a connection");
            (0..25).map(|n| guess(&probe, n)).collect::<Vec<_>>()
        })
        .collect();
    let judged = statuses.iter().filter(|status| **status == 401).count();
    let limited = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!(judged + limited, 1_000);
    assert_as_configured(judged as f64, start);
    assert_eq!(server.metrics().handshakes("unauthorized"), judged as f64);
    assert_eq!(server.metrics().handshakes("rate_limited"), limited as f64);
    assert!(gets_a_session(&lab.clients[1]));
}

#[test]
fn u5_guesses_from_many_addresses_of_one_slash_64_are_limited_together() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    lab.clients[0].sysctl("net/ipv6/ip_nonlocal_bind", "1");
    lab.edge
        .ip("-6 route add 2001:db8:77:aaaa::/64 via 2001:db8:77:0::2");
    lab.clients[0].ip("-6 route add local 2001:db8:77:aaaa::/64 dev lo");
    let target = SocketAddr::from((Lab::SERVER_V6, 443));
    let start = Instant::now();
    for n in 0..100_u16 {
        let source = format!("2001:db8:77:aaaa:{n:x}:{n:x}::1");
        let probe = Probe::connect_from(&lab.clients[0], &source, target);
        for n in 0..5 {
            assert!(matches!(guess(&probe, n), 401 | 429));
        }
    }
    let metrics = server.metrics();
    assert_as_configured(metrics.handshakes("unauthorized"), start);
    let remembered = metrics.value("qdt_limiter_entries{limit=\"tokens\"}");
    assert_eq!(remembered, 1.0, "a hundred addresses are one entry");
}

#[test]
fn u5_requests_are_charged_to_the_address_of_their_connections_handshake() {
    let lab = Lab::new(1);
    // Wrong tokens have a bucket of that size, too.
    let config = Config::server().set("handshake_ip_rate", "{pps: 1, burst: 10}");
    let server = Server::start(&lab.server, config);
    let endpoints = many_addresses(&lab, 2);
    let probe = Probe::connect_on(&endpoints[0], SERVER).expect("a connection");
    let socket = lab.clients[0].enter(|| UdpSocket::bind("10.99.0.1:0"));
    probe.move_to(socket.expect("an address of the client's"));
    let start = Instant::now();
    let judged = (0..30).filter(|n| guess(&probe, *n) == 401).count() as u64;
    assert!(judged >= 10, "{judged} guesses were judged");
    assert!(
        judged <= 11 + start.elapsed().as_secs(),
        "{judged} guesses were judged"
    );
    // The host at the address that the requests came from has made none yet.
    let third = Probe::connect_on(&endpoints[1], SERVER).expect("a connection");
    let statuses: Vec<_> = (0..10).map(|n| guess(&third, n)).collect();
    assert_eq!(statuses, [401; 10]);
    drop(server);
}

/// Asks with a wrong token; the status of the answer.
#[track_caller]
fn guess(probe: &Probe, n: usize) -> u16 {
    let mut exchange = Exchange::open(probe);
    exchange.write(&head(
        format!("guess {n} of many, all of them wrong").as_bytes(),
    ));
    exchange.answer(5 * SECOND).expect("an answer").status
}

/// The default of `handshake_ip_rate`: 40 at once, 20 a second.
#[track_caller]
fn assert_as_configured(judged: f64, start: Instant) {
    let allowed = 40.0 + 20.0 * start.elapsed().as_secs_f64() + 1.0;
    assert!(
        (40.0..=allowed).contains(&judged),
        "{judged} guesses were judged, up to {allowed} are allowed"
    );
}

/// Whether a right request from that machine gets a session.
fn gets_a_session(machine: &Machine) -> bool {
    Session::open(machine, SERVER, &SessionOptions::default()).is_ok()
}

#[test]
fn u6_a_million_junk_packets_change_nothing() {
    const JUNK: f64 = 1_000_000.0;
    let lab = Lab::new(2);
    let mut server = Server::start(&lab.server, Config::server());
    let _client = Client::start(&lab.clients[0], Config::client());
    let pinger = Pinger::start(
        &lab.clients[0],
        Lab::GATEWAY.into(),
        Duration::from_millis(50),
    );
    let sender = JunkSender::on(&lab.clients[1], SERVER);
    let mut random = SmallRng::seed_from_u64(6);
    let before = (resident_bytes(&server), datagrams_in(&server));
    let mut peak = 0;
    while datagrams_in(&server) - before.1 < JUNK {
        for _ in 0..400 {
            let size = match random.random_range(0..4) {
                0 => random.random_range(1..40),
                1 => 1200,
                _ => random.random_range(40..1400),
            };
            let shape = random.random_range(0..6);
            sender.send_batch(size, |packet| junk(packet, shape, &mut random));
        }
        receive_queue_drained(&lab.server, 443);
        peak = peak.max(resident_bytes(&server));
    }
    let (sent, replies) = pinger.stop();
    assert_eq!(server.ended(), None, "the server runs");
    let growth = peak.saturating_sub(before.0) / MIB;
    assert!(growth < 64, "resident memory grew by {growth} MiB");
    assert_eq!(session_lines(&server), (1, 0), "the session lives");
    let lost = sent.saturating_sub(replies.len());
    assert!(lost * 10 <= sent + 10, "{lost} of {sent} pings were lost");
}

/// UDP datagrams that the server has read.
fn datagrams_in(server: &Server<'_>) -> f64 {
    server
        .metrics()
        .value("qdt_udp_datagrams_total{direction=\"in\"}")
}

/// Fills a packet with noise that begins like something.
fn junk(packet: &mut [u8], shape: u32, random: &mut SmallRng) {
    random.fill_bytes(packet);
    let beginning: &[u8] = match shape {
        // Noise from the first byte on; a short header; versions 1, 2, a greased one, and the one
        // of negotiation.
        0 => &[],
        1 => &[0x40],
        2 => &[0xc0, 0, 0, 0, 1, 8],
        3 => &[0xc0, 0x6b, 0x33, 0x43, 0xcf, 8],
        4 => &[0xc0, 0x1a, 0x2a, 0x3a, 0x4a, 255],
        _ => &[0x80, 0, 0, 0, 0, 20],
    };
    let length = beginning.len().min(packet.len());
    packet[..length].copy_from_slice(&beginning[..length]);
}

#[test]
fn u6_forged_resets_version_negotiation_and_icmp_errors_end_no_session() {
    let lab = Lab::new(1);
    let mut server = Server::start(&lab.server, Config::server());
    // An eavesdropper knows addresses, ports and connection ids, but no secrets.
    let tap = |interface| {
        Capture::start(&lab.core, interface, |captured| {
            !captured.outgoing && is_udp(&captured.packet)
        })
    };
    let (from_client, from_server) = (tap("mid"), tap("srv"));
    let mut client = Client::start(&lab.clients[0], Config::client());
    let pinger = Pinger::start(
        &lab.clients[0],
        Lab::GATEWAY.into(),
        Duration::from_millis(20),
    );
    pinger.wait_for_reply_after(Instant::now(), 5 * SECOND);
    let is_short = |packet: &[u8]| packet.len() > 28 + 40 && packet[28] & 0xc0 == 0x40;
    // The tap may be behind what the pinger has seen.
    let last = |tap: &Capture| {
        wait_for("a short packet in this direction", 5 * SECOND, || {
            let packets = tap.packets();
            let found = packets
                .iter()
                .rev()
                .find(|captured| is_short(&captured.packet));
            found.map(|captured| captured.packet.clone())
        })
    };
    let sender = RawIp::open(&lab.core);
    let mut random = SmallRng::seed_from_u64(66);
    for _ in 0..20 {
        for original in [last(&from_server), last(&from_client)] {
            for round in 0..100 {
                for forged in forgeries(&original, round, &mut random) {
                    sender.send(&forged).expect("a raw socket sends");
                }
            }
        }
    }
    receive_queue_drained(&lab.server, 443);
    pinger.wait_for_reply_after(Instant::now(), 5 * SECOND);
    let (sent, replies) = pinger.stop();
    assert_eq!((server.ended(), client.ended()), (None, None));
    assert_eq!(
        session_lines(&server),
        (1, 0),
        "one session from first to last"
    );
    let lost = sent.saturating_sub(replies.len());
    assert!(lost * 10 <= sent + 10, "{lost} of {sent} pings were lost");
}

/// What an eavesdropper can make of a packet: sent on to its destination, and as errors to its
/// source.
fn forgeries(original: &[u8], round: u32, random: &mut SmallRng) -> Vec<Vec<u8>> {
    let ip = |at: usize| {
        let octets: [u8; 4] = original[at..at + 4].try_into().expect("four bytes");
        Ipv4Addr::from(octets)
    };
    let port = |at: usize| u16::from_be_bytes([original[at], original[at + 1]]);
    let (from, to) = ((ip(12), port(20)), (ip(16), port(22)));
    let quic = &original[28..];

    // A stateless reset (RFC 9000 section 10.3) with a token that is guessed.
    let mut reset = quic[..quic.len().min(43)].to_vec();
    random.fill_bytes(&mut reset[21..]);
    // The packet again with a bit changed, and cut short.
    let mut flipped = quic.to_vec();
    let at = random.random_range(0..flipped.len());
    flipped[at] ^= 1 << (round % 8);
    // Version negotiation (section 17.2.1) offering an unknown version.
    let mut negotiation = vec![0x80, 0, 0, 0, 0, 8];
    negotiation.extend_from_slice(&quic[1..9]);
    negotiation.push(8);
    negotiation.extend_from_slice(&random.random::<[u8; 8]>());
    negotiation.extend_from_slice(&[0x6b, 0x33, 0x43, 0xcf]);
    // A Retry with a tag that is guessed (section 17.2.5).
    let mut retry = vec![0xf0, 0, 0, 0, 1, 8];
    retry.extend_from_slice(&quic[1..9]);
    retry.push(4);
    retry.extend_from_slice(&[1, 2, 3, 4]);
    retry.extend_from_slice(&random.random::<[u8; 32]>());

    let mut packets: Vec<_> = [reset, flipped, quic[..30].to_vec(), negotiation, retry]
        .iter()
        .map(|payload| udp_packet(from, to, payload))
        .collect();
    // ICMP to the sender: port, host and protocol unreachable, time exceeded, and a path MTU of
    // next to nothing.
    for (kind, code, mtu) in [
        (3, 3, 0),
        (3, 1, 0),
        (3, 2, 0),
        (11, 0, 0),
        (3, 4, 68),
        (3, 4, 0),
    ] {
        packets.push(icmp_error(to.0, from.0, (kind, code, mtu), &original[..28]));
    }
    packets
}

/// An ICMP error (RFC 792, with the next-hop MTU of RFC 1191) that quotes the beginning of a
/// packet.
fn icmp_error(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    (kind, code, mtu): (u8, u8, u16),
    quoted: &[u8],
) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 0];
    message.extend_from_slice(&mtu.to_be_bytes());
    message.extend_from_slice(quoted);
    let mut sum: u32 = message
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let sum = (!(sum as u16)).to_be_bytes();
    message[2..4].copy_from_slice(&sum);
    ipv4_packet(source, destination, 1, &message)
}

/// A client that is refused by the limiter comes in later.
#[test]
fn a_rate_limited_client_retries_and_connects() {
    let lab = Lab::new(1);
    let config = Config::server().set("handshake_ip_rate", "{pps: 1, burst: 2, ttl: 1m}");
    let _server = Server::start(&lab.server, config);
    let _spent: Vec<_> = (0..2)
        .filter_map(|_| Session::open(&lab.clients[0], SERVER, &SessionOptions::default()).ok())
        .collect();
    let client = Client::start(&lab.clients[0], Config::client());
    assert!(crate::pings(&client));
}
