//! Peers that hold the token and mean harm (promises H1, H7, H8, H9, and the
//! weaknesses of the Go server that such peers use).

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use conformance::probe::{
    Exchange, Probe, Session, SessionOptions, echo_request, ipv4_packet, request_body,
};
use conformance::{
    Capture, Client, Config, Lab, Metrics, Pinger, Server, Token, connection_burst, in_parallel,
    many_addresses, resident_bytes, wait_until,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};

use crate::{MIB, SECOND, SERVER, answers, pings, session, unlimited};

/// The reasons under which a malformed datagram may be counted.
const REASONS: [&str; 5] = [
    "decode",
    "decode_oversize",
    "replay",
    "bad_packet",
    "src_mismatch",
];

#[test]
fn h1_a_million_malformed_datagrams_neither_crash_nor_grow_the_server_nor_disturb_other_clients() {
    const MALFORMED: f64 = 1_000_000.0;
    let lab = Lab::new(2);
    // What is above the limit is dropped before anybody looks at it.
    let config = Config::server().set("rate_limit", "{pps: -1}");
    let mut server = Server::start(&lab.server, config);
    let bystander = Client::start(&lab.clients[0], Config::client());
    let mut hostile = session(&lab, 1);
    let mut random = SmallRng::seed_from_u64(1);

    let refused = |metrics: &Metrics| REASONS.iter().map(|r| metrics.drops(r)).sum::<f64>();
    // What any traffic at all makes the server keep is not growth.
    hostile.send_many((0..20_000).map(|_| junk(&mut random)).collect::<Vec<_>>());
    let before = resident_bytes(&server);
    let pinger = Pinger::start(
        &lab.clients[0],
        Lab::GATEWAY.into(),
        Duration::from_millis(50),
    );
    let mut peak = before;
    while refused(&server.metrics()) < MALFORMED {
        let batch: Vec<_> = (0..10_000)
            .map(|_| malformed(&mut hostile, &mut random))
            .collect();
        hostile.send_many(batch);
        peak = peak.max(resident_bytes(&server));
    }
    let (sent, replies) = pinger.stop();

    assert_eq!(server.ended(), None, "the server runs");
    let growth = peak.saturating_sub(before) / MIB;
    assert!(growth < 16, "resident memory grew by {growth} MiB");
    let lost = sent.saturating_sub(replies.len());
    assert!(
        lost * 50 <= sent + 50,
        "the other client lost {lost} of {sent} pings"
    );
    assert!(
        answers(&mut hostile, 5 * SECOND),
        "what is right still passes, also in the attacked session"
    );
    drop(bystander);
}

/// Noise of any length.
fn junk(random: &mut SmallRng) -> Vec<u8> {
    let mut junk = vec![0; random.random_range(0..200)];
    random.fill_bytes(&mut junk);
    junk
}

/// One datagram that no correct peer sends: sealed wrongly, or rightly around something wrong.
fn malformed(session: &mut Session, random: &mut SmallRng) -> Vec<u8> {
    let inner = session.inner();
    let sealer = &mut session.sealer;
    let mut packet = echo_request(inner, Lab::GATEWAY, 1, 0);
    match random.random_range(0..14) {
        0 => junk(random),
        1 => {
            // Cut short anywhere: never the whole datagram.
            let mut datagram = sealer.seal(0, &packet);
            datagram.truncate(random.random_range(0..datagram.len()));
            datagram
        }
        2..=4 => {
            // A bit flipped anywhere.
            let mut datagram = sealer.seal(0, &packet);
            let at = random.random_range(0..datagram.len());
            datagram[at] ^= 1 << random.random_range(0..8);
            datagram
        }
        5 => {
            // A type that does not exist, with flags, rightly sealed.
            sealer.flags = random.random();
            let datagram = sealer.seal(random.random_range(5..=255), &packet);
            sealer.flags = 0;
            datagram
        }
        6 => {
            // Rightly sealed for a session that is not this one.
            let other = random.random_range(1..=u64::MAX);
            sealer.session ^= other;
            let datagram = sealer.seal(0, &packet);
            sealer.session ^= other;
            datagram
        }
        7 => {
            sealer.version = random.random_range(2..=255);
            let datagram = sealer.seal(0, &packet);
            sealer.version = 1;
            datagram
        }
        8 => {
            // A counter of long ago.
            let now = sealer.counter;
            sealer.counter = now.saturating_sub(random.random_range(2048..5000));
            let datagram = sealer.seal(0, &packet);
            sealer.counter = now;
            datagram
        }
        9 => match random.random_range(0..4) {
            // Fragments beyond their total, of nothing, of everything, and without their header.
            0 => sealer.fragment(1, 1000, 10, b"beyond"),
            1 => sealer.fragment(2, 0, 100, b""),
            2 => sealer.fragment(3, u32::MAX, u32::MAX, b"everything at once"),
            _ => sealer.seal(1, &[0; 11]),
        },
        10 => {
            // Two totals for one id: what crashes the Go server.
            let id = 0x1000 + random.random_range(0..8);
            sealer.fragment(id, 0, random.random_range(20..60_000), &[7; 10])
        }
        // Never completed: reassembly has to bound and to forget them.
        11 => sealer.fragment(random.random(), 0, 65_535, &[1; 600]),
        12 => {
            // A total length that lies, a header that is none, or nothing at all.
            match random.random_range(0..3) {
                0 => packet[2] = random.random_range(1..=255),
                1 => packet[0] = random.random_range(0..=0x44),
                _ => packet.clear(),
            }
            sealer.seal(0, &packet)
        }
        _ => {
            let foreign = u32::from(inner) ^ random.random_range(1..=u32::MAX);
            sealer.seal(0, &ipv4_packet(foreign.into(), Lab::GATEWAY, 1, b""))
        }
    }
}

#[test]
fn h7_a_datagram_of_one_session_on_the_connection_of_another_is_dropped() {
    let lab = Lab::new(2);
    let server = Server::start(&lab.server, Config::server());
    let (mut a, mut b) = (session(&lab, 0), session(&lab, 1));
    assert!(answers(&mut a, SECOND) && answers(&mut b, SECOND));
    let on_tun = Capture::start(&lab.server, "qdt0", |captured| !captured.outgoing);
    let before = server.metrics();

    let request = echo_request(a.inner(), Lab::GATEWAY, 77, 56);
    let of_a = a.sealer.seal(0, &request);
    b.send(&of_a);
    // With B's session id over A's seal.
    let mut renamed = of_a.clone();
    renamed[6..14].copy_from_slice(&b.response.session_id.0.to_be_bytes());
    b.send(&renamed);
    // On a stream that has no session.
    b.probe.send_datagram_wait([&[1], &of_a[..]].concat());
    // B's keys do not open A's session either.
    b.sealer.session = a.response.session_id.0;
    a.send(&b.sealer.seal(0, &request));
    b.sealer.session = b.response.session_id.0;
    wait_until("four datagrams are refused", 5 * SECOND, || {
        server.metrics().drops("decode") - before.drops("decode") == 4.0
    });
    assert!(on_tun.packets().is_empty());

    // A's counter was not used up by the attempt.
    a.send(&of_a);
    on_tun.wait_for("A's packet, from A", 5 * SECOND, |captured| {
        captured.packet == request
    });
    assert!(answers(&mut b, 5 * SECOND), "B's session lives");
}

#[test]
fn h8_an_mtu_of_0_to_60_is_clamped_and_a_packet_never_becomes_more_than_three_datagrams() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, unlimited());
    let sender = on_gateway(&lab);
    may_fragment(&sender);
    for mtu in (0..=60).chain([-1, i64::MIN, 100, 575]) {
        let options = SessionOptions {
            mtu,
            ..SessionOptions::default()
        };
        let tiny = Session::open(&lab.clients[0], SERVER, &options).expect("a session");
        let agreed = tiny.response.mtu;
        assert!(agreed >= 576, "mtu {mtu} became {agreed}");
        // The largest packet that the server's device passes on: 1350 - 38 bytes.
        let payload = [mtu as u8; 1312 - 28];
        sender
            .send_to(&payload, (tiny.inner(), 9))
            .expect("there is a route to the client");
        let (mut datagrams, mut bytes) = (0, 0);
        while bytes < 1312 {
            let message = tiny.receive(5 * SECOND).expect("the whole packet arrives");
            datagrams += 1;
            bytes += message.plaintext.len() - if message.kind == 1 { 12 } else { 0 };
        }
        assert_eq!(bytes, 1312, "mtu {mtu}");
        assert!(datagrams <= 3, "mtu {mtu}: {datagrams} datagrams");
        tiny.probe.close();
    }
}

/// A socket at the server's own inner address.
#[track_caller]
fn on_gateway(lab: &Lab) -> UdpSocket {
    lab.server
        .enter(|| UdpSocket::bind((Lab::GATEWAY, 0)))
        .expect("the gateway's address is the server's")
}

/// Switches path MTU discovery of a socket off: what is too large is fragmented, not refused.
fn may_fragment(socket: &UdpSocket) {
    use std::os::fd::AsRawFd as _;
    let value: libc::c_int = libc::IP_PMTUDISC_DONT;
    // SAFETY: the value outlives the call and its size is given.
    let code = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    assert_eq!(code, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn h9_thirty_two_requests_at_once_on_one_connection_open_one_session() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    let probe = Probe::connect(&lab.clients[0], SERVER);
    let exchanges: Vec<_> = (0..32).map(|_| Exchange::open(&probe)).collect();
    let answers = in_parallel(exchanges, |mut exchange| {
        write_head(&mut exchange);
        exchange.write_data(&request_body("AAAAAAAAAAAAAAAAAAAAAA", 1242));
        let answer = exchange.answer(5 * SECOND).expect("an answer");
        (answer, exchange)
    });
    let count = |status| {
        let statuses = answers.iter().map(|(answer, _)| answer.status);
        statuses.filter(|found| *found == status).count()
    };
    assert_eq!((count(200), count(503)), (1, 31));
    assert_eq!(server.metrics().sessions(), 1.0);
    assert_eq!(server.metrics().handshakes("busy"), 31.0);
}

/// Writes the head of a right request, and no body.
fn write_head(exchange: &mut Exchange) {
    exchange.write_connect_head(Token::TEXT.as_bytes(), None);
}

#[test]
fn h9_max_sessions_holds_under_simultaneous_requests_and_stalled_requests_release_their_slots() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, unlimited().set("max_sessions", "10"));
    let endpoint = Probe::endpoint(&lab.clients[0], SERVER);

    // Ten times as many stop after a head that is right.
    let probes = connection_burst(&many_addresses(&lab, 4), SERVER, 100);
    assert_eq!(probes.len(), 100);
    let stalled = in_parallel(probes.iter().collect(), |probe| {
        let mut exchange = Exchange::open(probe);
        write_head(&mut exchange);
        exchange
    });
    // They hold no place for longer than a body may take.
    wait_until(
        "a new client gets a session",
        12 * SECOND,
        || match Session::open(&lab.clients[0], SERVER, &SessionOptions::default()) {
            Ok(session) => {
                session.probe.close();
                true
            }
            Err(_) => false,
        },
    );
    drop((stalled, probes));
    wait_until("the new client's session has ended", 5 * SECOND, || {
        server.metrics().sessions() == 0.0
    });

    let answers = in_parallel(connection_burst(&[endpoint], SERVER, 60), |probe| {
        Session::open_on(probe, &SessionOptions::default())
    });
    let (granted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!((granted.len(), refused.len()), (10, 50));
    for (answer, _) in refused.into_iter().filter_map(Result::err).map(|it| *it) {
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (503, "server busy\n")
        );
    }
    assert_eq!(server.metrics().sessions(), 10.0);
}

#[test]
fn h9_a_peer_with_a_session_cannot_hold_memory_by_its_streams() {
    let lab = Lab::new(2);
    let server = Server::start(&lab.server, unlimited());
    let before = resident_bytes(&server);
    let talkative: Vec<_> = (0..20).map(|_| session(&lab, 0)).collect();
    let mut other = session(&lab, 1);
    for session in &talkative {
        // A frame of a type that does not exist, without an end: HTTP/3 has it ignored.
        session
            .probe
            .flood_streams(31, &[0x21, 0xbf, 0xff, 0xff, 0xff], &[b' '; 100]);
    }
    for session in &talkative {
        let end = session.probe.closed(10 * SECOND);
        assert!(
            matches!(&end, Some(quinn::ConnectionError::ApplicationClosed(close))
                if close.error_code == quinn::VarInt::from_u32(0x107)),
            "not H3_EXCESSIVE_LOAD: {end:?}"
        );
    }
    let growth = resident_bytes(&server).saturating_sub(before) / MIB;
    assert!(growth < 32, "resident memory grew by {growth} MiB");
    assert!(answers(&mut other, SECOND));
}

#[test]
fn weakness_one_stalled_client_holds_65_535_bytes_for_every_queued_packet() {
    let lab = Lab::new(2);
    let server = Server::start(&lab.server, Config::server().set("rate_limit", "{pps: -1}"));
    let stalled = Client::start(&lab.clients[0], Config::client());
    let other = Client::start(&lab.clients[1], Config::client());
    let address = stalled.inner_address().expect("a connected client");
    let before = resident_bytes(&server);
    stalled.signal(libc::SIGSTOP);
    let sender = on_gateway(&lab);
    let mut peak = 0;
    for _ in 0..200 {
        for _ in 0..1_000 {
            let _ = sender.send_to(&[0; 1200], (address, 9));
        }
        peak = peak.max(resident_bytes(&server));
    }
    let growth = peak.saturating_sub(before) / MIB;
    // The queue of datagrams (6 MiB), what is remembered of 64 MiB in flight, and batches on their
    // way: some 30 MiB.
    assert!(growth < 48, "{growth} MiB for one stalled client");
    assert!(pings(&other), "other clients are not stalled");
    stalled.signal(libc::SIGCONT);
    wait_until("the stalled client is served again", 10 * SECOND, || {
        pings(&stalled)
    });
}

#[test]
fn weakness_two_fragments_with_different_totals_crash_the_whole_server() {
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

#[test]
fn weakness_reassembly_memory_has_no_bound() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server());
    let mut hostile = session(&lab, 0);
    assert!(answers(&mut hostile, SECOND));
    let before = resident_bytes(&server);
    for id in 0..20_000 {
        let fragment = hostile.sealer.fragment(id, 0, 65_535, &[1; 10]);
        hostile.send(&fragment);
    }
    assert!(answers(&mut hostile, 2 * SECOND));
    let growth = resident_bytes(&server).saturating_sub(before) / MIB;
    assert!(growth < 16, "resident memory grew by {growth} MiB");
}

#[test]
fn weakness_one_packet_bucket_is_shared_by_both_directions_and_charged_per_fragment() {
    let lab = Lab::new(1);
    let config = Config::server().set("rate_limit", "{pps: 1, burst: 40}");
    let server = Server::start(&lab.server, config);
    let mut mine = session(&lab, 0);
    let request = echo_request(mine.inner(), Lab::GATEWAY, 5, 56);
    for id in 0..40 {
        for (n, data) in request.chunks(24).enumerate() {
            let (offset, total) = (n as u32 * 24, request.len() as u32);
            let fragment = mine.sealer.fragment(id, offset, total, data);
            mine.send(&fragment);
        }
    }
    // The whole burst passes, four fragments a packet, and all answers do: they have a bucket of
    // their own.
    let is_answer = |packet: &[u8]| packet[9] == 1 && packet[20] == 0;
    let answered = (0..40).filter(|_| mine.receive_packet(SECOND, is_answer).is_some());
    assert_eq!(answered.count(), 40);
    let metrics = server.metrics();
    assert_eq!(
        (metrics.drops("rate_in"), metrics.drops("rate_out")),
        (0.0, 0.0)
    );
    // And there is a limit.
    for _ in 0..40 {
        mine.send_packet(&request);
    }
    wait_until("what is above the limit is dropped", 2 * SECOND, || {
        server.metrics().drops("rate_in") >= 30.0
    });
}

#[test]
fn a_datagram_is_accepted_with_its_quarter_stream_id_in_every_form() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    let mut mine = session(&lab, 0);
    let request = echo_request(mine.inner(), Lab::GATEWAY, 7, 56);
    // Zero in one, two, four and eight bytes (RFC 9000, 16).
    for form in [
        &[0][..],
        &[0x40, 0],
        &[0x80, 0, 0, 0],
        &[0xc0, 0, 0, 0, 0, 0, 0, 0],
    ] {
        let sealed = mine.sealer.seal(0, &request);
        mine.probe.send_datagram([form, &sealed].concat());
        let is_answer = |packet: &[u8]| packet[9] == 1 && packet[20] == 0;
        assert!(
            mine.receive_packet(5 * SECOND, is_answer).is_some(),
            "{form:x?}"
        );
    }
}

/// A session that names `ping`, shows a ticket or none, and is limited to 40 at once and 5 a
/// second.
fn limited_session(lab: &Lab, resume: Option<String>) -> Session {
    let options = SessionOptions {
        caps: vec!["ping"],
        resume,
        ..SessionOptions::default()
    };
    Session::open(&lab.clients[0], SERVER, &options).expect("a good request")
}

fn few_a_second() -> Config {
    Config::server().set("rate_limit", "{pps: 5, burst: 40}")
}

/// The most that may pass of what began at `start`.
fn allowed(start: Instant) -> f64 {
    40.0 + 5.0 * start.elapsed().as_secs_f64() + 1.0
}

#[test]
fn a_ping_flood_is_dropped_and_counted_and_consumes_no_packet_budget() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, few_a_second());
    let start = Instant::now();
    let mut mine = limited_session(&lab, None);
    let pings: Vec<_> = (0..1_000).map(|_| mine.sealer.seal(2, &[7; 8])).collect();
    mine.send_many(pings);
    wait_until("what is above the limit is dropped", 10 * SECOND, || {
        server.metrics().drops("rate_in") >= 1_000.0 - allowed(start)
    });
    let mut pongs = 0;
    while let Some(message) = mine.receive(SECOND) {
        pongs += u32::from(message.kind == 3);
    }
    assert!(pongs >= 40, "{pongs} pongs: the burst is answered");
    assert!(f64::from(pongs) <= allowed(start), "{pongs} pongs");
    // Packets have a bucket of their own: all of it is there.
    let request = echo_request(mine.inner(), Lab::GATEWAY, 5, 56);
    for _ in 0..40 {
        mine.send_packet(&request);
    }
    let is_answer = |packet: &[u8]| packet[9] == 1 && packet[20] == 0;
    let answered = (0..40).filter(|_| mine.receive_packet(SECOND, is_answer).is_some());
    assert_eq!(answered.count(), 40);
}

#[test]
fn fragments_and_junk_above_the_limit_are_dropped_before_they_cost_anything() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, few_a_second());
    let start = Instant::now();
    let mut mine = limited_session(&lab, None);
    let dropped = |drops: f64| {
        wait_until("what is above the limit is dropped", 10 * SECOND, || {
            server.metrics().drops("rate_in") >= drops
        });
        server.metrics()
    };
    // Packets that do not open.
    let mut forged: Vec<_> = (0..1_000).map(|_| mine.sealer.seal(0, &[7; 40])).collect();
    forged.iter_mut().for_each(|datagram| datagram[50] ^= 1);
    mine.send_many(forged);
    let metrics = dropped(1_000.0 - allowed(start));
    assert!(metrics.drops("decode") <= allowed(start));
    // Fragments of packets that never become whole: four of them cost as much as a packet.
    let before = metrics.drops("rate_in");
    let fragments = (0..1_000).map(|id| mine.sealer.fragment(id, 0, 1_000, &[1; 10]));
    let fragments: Vec<_> = fragments.collect();
    mine.send_many(fragments);
    let metrics = dropped(before + 1_000.0 - 4.0 * allowed(start));
    let taken = metrics.value("qdt_fragments_total{direction=\"in\"}");
    assert!(
        (160.0..=4.0 * allowed(start)).contains(&taken),
        "{taken} fragments"
    );
    // What is not a datagram of the session at all.
    let before = metrics.drops("rate_in");
    mine.send_many((0..1_000).map(|_| vec![0x5a; 100]).collect::<Vec<_>>());
    dropped(before + 1_000.0 - allowed(start));
}

#[test]
fn a_session_resumed_by_ticket_keeps_the_state_of_its_limiters() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, few_a_second());
    let start = Instant::now();
    let mut answered = 0;
    let (mut ticket, mut address, mut last) = (None, None, None);
    // The first is closed before the second comes; the third takes the address from the second
    // while that lives.
    for n in 0..3 {
        let mut mine = limited_session(&lab, ticket.take());
        assert_eq!(*address.get_or_insert(mine.inner()), mine.inner());
        ticket = mine.response.resume.clone();
        let request = echo_request(mine.inner(), Lab::GATEWAY, n, 56);
        for _ in 0..100 {
            mine.send_packet(&request);
        }
        let is_answer = |packet: &[u8]| packet[9] == 1 && packet[20] == 0;
        while mine.receive_packet(SECOND, is_answer).is_some() {
            answered += 1;
        }
        if n == 0 {
            mine.probe.close();
        } else {
            last = Some(mine);
        }
    }
    assert!(answered >= 40, "{answered} answers: the burst passes");
    assert!(f64::from(answered) <= allowed(start), "{answered} answers");
    drop((server, last));
}
