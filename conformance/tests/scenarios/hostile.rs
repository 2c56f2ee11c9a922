//! Peers that hold the token and mean harm: H1, H7, H8, H9.

use conformance::probe::{Exchange, Session, SessionOptions, echo_request, request_body};
use conformance::{Client, Config, Lab, Server, Token, at_full_length, wait_until};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::{SECOND, SERVER, answers, pings, session};

/// H1: header, type, length, flags and fragments, broken in every way.
#[test]
fn a_flood_of_malformed_datagrams_harms_nobody() {
    let count = if at_full_length() { 1_000_000 } else { 100_000 };
    let lab = Lab::new(2);
    let mut server = Server::start(&lab.server, Config::server());
    let client = Client::start(&lab.clients[1], Config::client());
    let mut hostile = session(&lab, 0);
    assert!(answers(&mut hostile, SECOND));
    let before = server.metrics();
    let seed = rand::random();
    println_seed(seed);
    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..count {
        let datagram = malformed(&mut hostile, &mut random);
        hostile.send(&datagram);
    }
    assert!(pings(&client), "another client is served");
    assert!(server.ended().is_none(), "the server lives");
    let after = server.metrics();
    let grown = after.resident_bytes() - before.resident_bytes();
    assert!(grown < 16e6, "memory grew by {grown} bytes");
    assert!(
        after.drops("decode") > before.drops("decode"),
        "{}",
        after.text()
    );
    // A counter near its end may have been used by a mutation: a fresh session serves.
    assert!(answers(&mut session(&lab, 0), SECOND));
}

/// One datagram that is wrong in some way, authentic or not.
fn malformed(session: &mut Session, random: &mut SmallRng) -> Vec<u8> {
    let inner = session.inner();
    let length = random.random_range(0..64);
    let packet = echo_request(inner, Lab::GATEWAY, 3, length);
    match random.random_range(0..8) {
        0 => (0..random.random_range(0..200))
            .map(|_| random.random())
            .collect(),
        1 => {
            let mut datagram = session.sealer.seal(0, &packet);
            let at = random.random_range(0..datagram.len());
            datagram[at] ^= 1 << random.random_range(0..8);
            datagram
        }
        2 => {
            let mut datagram = session.sealer.seal(0, &packet);
            datagram.truncate(random.random_range(0..datagram.len()));
            datagram
        }
        3 => {
            let kind = random.random_range(5..=255);
            session.sealer.seal(kind, &packet)
        }
        4 => session.sealer.fragment(
            random.random_range(0..20),
            random.random_range(0..70_000),
            random.random_range(0..70_000),
            &packet,
        ),
        5 => session
            .sealer
            .seal(1, &packet[..random.random_range(0..12)]),
        6 => {
            session.sealer.session ^= 1;
            let datagram = session.sealer.seal(0, &packet);
            session.sealer.session ^= 1;
            datagram
        }
        _ => {
            session.sealer.version = random.random_range(2..=255);
            let datagram = session.sealer.seal(0, &packet);
            session.sealer.version = 1;
            datagram
        }
    }
}

/// Shown with a failure, so that it can be repeated.
fn println_seed(seed: u64) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "seed {seed}");
}

/// The weakness that ends the Go server.
#[test]
fn two_fragments_with_different_totals_end_nothing() {
    let lab = Lab::new(1);
    let mut server = Server::start(&lab.server, Config::server());
    let mut hostile = session(&lab, 0);
    for (offset, total) in [(0, 100), (50, 65_535), (10, 20), (0, 1)] {
        let fragment = hostile.sealer.fragment(1, offset, total, &[1; 10]);
        hostile.send(&fragment);
    }
    assert!(answers(&mut hostile, SECOND));
    assert!(server.ended().is_none());
}

/// The weakness that costs the Go server a gigabyte.
#[test]
fn fragments_that_never_complete_cost_no_more_than_max_reassembly_bytes() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    let mut hostile = session(&lab, 0);
    assert!(answers(&mut hostile, SECOND));
    let before = server.metrics().resident_bytes();
    for id in 0..20_000 {
        let fragment = hostile.sealer.fragment(id, 0, 65_535, &[1; 10]);
        hostile.send(&fragment);
    }
    assert!(answers(&mut hostile, 2 * SECOND));
    let grown = server.metrics().resident_bytes() - before;
    assert!(grown < 16e6, "memory grew by {grown} bytes");
}

/// H7: what is sealed for one session is worth nothing on another connection,
/// and its counter is not burnt by the attempt.
#[test]
fn a_datagram_of_one_session_is_dropped_on_the_connection_of_another() {
    let lab = Lab::new(2);
    let server = Server::start(&lab.server, Config::server());
    let mut victim = session(&lab, 0);
    let mut thief = session(&lab, 1);
    assert!(answers(&mut victim, SECOND) && answers(&mut thief, SECOND));
    let request = echo_request(victim.inner(), Lab::GATEWAY, 77, 56);
    let stolen = victim.sealer.seal(0, &request);
    let before = server.metrics().drops("decode");
    thief.send(&stolen);
    wait_until("the stolen datagram is counted", 2 * SECOND, || {
        server.metrics().drops("decode") > before
    });
    let reply = |packet: &[u8]| packet[9] == 1 && packet[20] == 0 && packet[27] == 77;
    assert!(thief.receive_packet(SECOND / 4, reply).is_none());
    victim.send(&stolen);
    assert!(
        victim.receive_packet(SECOND, reply).is_some(),
        "its owner may send it still"
    );
}

/// H8: a tiny mtu is no amplifier.
#[test]
fn a_tiny_mtu_is_clamped_and_one_packet_makes_three_datagrams_at_most() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    for mtu in [-1, 0, 1, 38, 50, 51, 60, 575] {
        let options = SessionOptions {
            mtu,
            ..SessionOptions::default()
        };
        let mut tiny = Session::open(&lab.clients[0], SERVER, &options).expect("a session");
        assert!(
            tiny.response.mtu >= 576,
            "mtu {mtu} was answered with {}",
            tiny.response.mtu
        );
        // A large echo goes in pieces of what fits every mtu, and comes back in some.
        let request = echo_request(tiny.inner(), Lab::GATEWAY, 5, 1100);
        for (n, piece) in request.chunks(500).enumerate() {
            let offset = n as u32 * 500;
            let fragment = tiny.sealer.fragment(1, offset, request.len() as u32, piece);
            tiny.send(&fragment);
        }
        let mut datagrams = 0;
        while tiny.receive(SECOND / 4).is_some() {
            datagrams += 1;
        }
        assert!(
            (1..=3).contains(&datagrams),
            "mtu {mtu}: {datagrams} datagrams for one packet"
        );
    }
}

/// H9: many requests on one connection get one session.
#[test]
fn thirty_two_requests_on_one_connection_get_one_session() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    let first = session(&lab, 0);
    let nonce = "AAAAAAAAAAAAAAAAAAAAAA";
    for _ in 0..31 {
        let mut exchange = Exchange::open(&first.probe);
        exchange.write_headers(&[
            (":method", b"POST"),
            (":scheme", b"https"),
            (":authority", b"qdt.test"),
            (":path", b"/connect"),
            ("x-qdt-token", Token::TEXT.as_bytes()),
        ]);
        exchange.write_data(&request_body(nonce, 1242));
        let status = exchange.answer(5 * SECOND).map(|answer| answer.status);
        assert!(matches!(status, Some(429 | 503)), "{status:?}");
    }
    assert_eq!(server.metrics().sessions(), 1.0);
}

/// H9: a peer that stands still is not sent to from memory without bound.
#[test]
fn a_stalled_client_holds_no_memory_and_nobody_up() {
    let lab = Lab::new(2);
    let server = Server::start(&lab.server, Config::server());
    let stalled = Client::start(&lab.clients[0], Config::client());
    let other = Client::start(&lab.clients[1], Config::client());
    let inner = stalled.inner_address().expect("a connected client");
    let before = server.metrics().resident_bytes();
    stalled.signal(libc::SIGSTOP);
    let socket = lab
        .server
        .enter(|| std::net::UdpSocket::bind("0.0.0.0:0"))
        .expect("a UDP socket");
    for _ in 0..200_000 {
        let _ = socket.send_to(&[0; 1200], (inner, 9));
    }
    let grown = server.metrics().resident_bytes() - before;
    assert!(grown < 32e6, "memory grew by {grown} bytes");
    assert!(pings(&other));
    stalled.signal(libc::SIGCONT);
    wait_until("the stalled client is served again", 10 * SECOND, || {
        pings(&stalled)
    });
}
