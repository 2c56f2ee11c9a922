//! A client and a server carry packets for each other, over real QUIC on loopback.

#![allow(clippy::disallowed_methods, reason = "a test may read the clock")]

#[path = "pair/session_control.rs"]
mod session_control;
mod support;

use std::collections::HashSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use qdt_proto::handshake::{AssignmentError, Capabilities};
use qdt_transport::{
    AttemptId, ClientCommand, ClientEvent, ClientTrust, DialError, DropReason, PacketSize,
};
use support::{
    AT_THE_GATEWAY, Client, GATEWAY, OPEN_LINK_LOCAL, PANICS, Relay, Server, inner_address,
    new_certificate, packet, receive, unfragmentable, until,
};

#[test]
fn packets_of_every_size_arrive_unchanged_in_both_directions() {
    let server = Server::start(1);
    let client = Client::connect(&server);
    for len in (28..1500).step_by(7).chain([1311, 1312, 1313, 1350]) {
        let up = packet(client.inner, GATEWAY, len);
        client.tun().send(&up).expect("send");
        assert_eq!(receive(&server.tuns[0]), up, "up, {len} bytes");
        let down = packet(GATEWAY, client.inner, len);
        server.tuns[0].send(&down).expect("send");
        assert_eq!(receive(client.tun()), down, "down, {len} bytes");
    }
}

#[test]
fn a_packet_of_the_tunnels_mtu_needs_one_datagram_from_the_first_moment() {
    let server = Server::start(1);
    let client = Client::connect(&server);
    let up = packet(client.inner, GATEWAY, 1312);
    client.tun().send(&up).expect("send");
    assert_eq!(receive(&server.tuns[0]), up);
    let down = packet(GATEWAY, client.inner, 1312);
    server.tuns[0].send(&down).expect("send");
    assert_eq!(receive(client.tun()), down);
    let sum = server.counters();
    assert_eq!((sum.fragments_in, sum.fragments_out), (0, 0));
}

#[test]
fn where_the_path_carries_only_the_base_size_full_packets_arrive_in_fragments() {
    let server = Server::start(1);
    let mut client = Client::start(Client::settings(&ClientTrust::Pin(server.pin)));
    client.dial(1, server.addr, PacketSize::Base);
    let ClientEvent::Established {
        assignment, size, ..
    } = client.event()
    else {
        panic!("not established");
    };
    assert_eq!(size, PacketSize::Base);
    client.inner = inner_address(&assignment);
    let kernel = client.attach();
    client.worker.send(ClientCommand::Adopt(AttemptId(1)));
    let up = packet(client.inner, GATEWAY, 1312);
    kernel.send(&up).expect("send");
    assert_eq!(receive(&server.tuns[0]), up);
    assert_eq!(server.counters().fragments_in, 2);
    let down = packet(GATEWAY, client.inner, 1312);
    server.tuns[0].send(&down).expect("send");
    assert_eq!(receive(&kernel), down);
}

#[test]
fn a_peer_without_extensions_is_served_with_chacha20_poly1305() {
    let server = Server::start(1);
    let mut settings = Client::settings(&ClientTrust::Pin(server.pin));
    settings.caps = Capabilities::NONE;
    let client = Client::connect_with(&server, settings);
    let up = packet(client.inner, GATEWAY, 500);
    client.tun().send(&up).expect("send");
    assert_eq!(receive(&server.tuns[0]), up);
}

#[test]
fn a_packet_read_on_another_workers_queue_still_reaches_its_client() {
    let server = Server::start(3);
    let clients: Vec<_> = (0..6).map(|_| Client::connect(&server)).collect();
    for (index, client) in clients.iter().enumerate() {
        for tun in &server.tuns {
            let down = packet(GATEWAY, client.inner, 100 + index);
            tun.send(&down).expect("send");
            assert_eq!(receive(client.tun()), down);
        }
    }
}

#[test]
fn a_packet_with_a_foreign_source_or_a_lying_length_never_reaches_the_tun() {
    let server = Server::start(1);
    let client = Client::connect(&server);
    let foreign = packet(Ipv4Addr::new(10, 8, 0, 77), GATEWAY, 100);
    client.tun().send(&foreign).expect("send");
    let honest = packet(client.inner, GATEWAY, 64);
    client.tun().send(&honest).expect("send");
    assert_eq!(receive(&server.tuns[0]), honest);
}

#[test]
fn packets_from_one_client_to_another_are_dropped_and_counted() {
    let server = Server::start(1);
    let (a, b) = (Client::connect(&server), Client::connect(&server));
    a.tun().send(&packet(a.inner, b.inner, 100)).expect("send");
    until("the drop is counted", || {
        server.drops(DropReason::ClientToClient) == 1
    });
    let honest = packet(a.inner, GATEWAY, 64);
    a.tun().send(&honest).expect("send");
    assert_eq!(receive(&server.tuns[0]), honest);
}

#[test]
fn packets_to_link_local_and_loopback_addresses_are_dropped_and_counted_but_for_opened_ones() {
    let server = Server::start(1);
    let client = Client::connect(&server);
    for closed in ["169.254.169.254", "169.254.0.1", "127.0.0.1", "127.255.0.9"] {
        let closed = closed.parse().expect("an address");
        let up = packet(client.inner, closed, 100);
        client.tun().send(&up).expect("send");
    }
    until("the drops are counted", || {
        server.drops(DropReason::LinkLocal) == 4
    });
    for open in [OPEN_LINK_LOCAL, Ipv4Addr::new(169, 253, 1, 1), GATEWAY] {
        let up = packet(client.inner, open, 64);
        client.tun().send(&up).expect("send");
        assert_eq!(receive(&server.tuns[0]), up);
    }
}

#[test]
fn where_clients_may_reach_each_other_their_packets_need_no_kernel() {
    let server = Server::start_open(3);
    let clients: Vec<_> = (0..5).map(|_| Client::connect(&server)).collect();
    for client in &clients {
        let up = packet(client.inner, GATEWAY, 64);
        client.tun().send(&up).expect("send");
    }
    for from in &clients {
        for to in &clients {
            if from.inner != to.inner {
                let across = packet(from.inner, to.inner, 1312);
                from.tun().send(&across).expect("send");
                assert_eq!(receive(to.tun()), across);
            }
        }
    }
}

#[test]
fn a_wrong_token_is_answered_with_the_documented_words() {
    let server = Server::start(1);
    let mut settings = Client::settings(&ClientTrust::Pin(server.pin));
    settings.token = b"another token".to_vec().into();
    let client = Client::start(settings);
    client.dial(7, server.addr, PacketSize::Full);
    assert_eq!(
        client.event(),
        ClientEvent::Refused {
            attempt: AttemptId(7),
            status: 401,
            body: "unauthorized\n".into()
        }
    );
}

#[test]
fn a_certificate_that_is_not_the_pinned_one_is_refused_and_said_so() {
    let (server, other) = (Server::start(1), Server::start(1));
    let client = Client::start(Client::settings(&ClientTrust::Pin(other.pin)));
    client.dial(1, server.addr, PacketSize::Full);
    match client.event() {
        ClientEvent::Failed {
            error: DialError::Certificate(words),
            ..
        } => {
            assert!(words.contains("server_pin"), "{words}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_that_drains_tells_every_client_at_once() {
    let mut server = Server::start(2);
    let clients: Vec<_> = (0..8).map(|_| Client::connect(&server)).collect();
    server
        .workers
        .take()
        .expect("running")
        .drain("server shutting down");
    for client in &clients {
        match client.event() {
            ClientEvent::Closed { reason, .. } => {
                assert!(reason.contains("server shutting down"), "{reason}")
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.ended.try_iter().count(), 8);
}

/// Waits for the end of a connection of a server that failed.
#[track_caller]
fn assert_is_told_of_the_failure(client: &Client) {
    match client.event() {
        ClientEvent::Closed { reason, .. } => assert!(reason.contains("server failed"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_whose_device_fails_tells_its_clients_at_once() {
    let mut server = Server::start(1);
    let clients: Vec<_> = (0..8).map(|_| Client::connect(&server)).collect();
    let up = packet(clients[0].inner, GATEWAY, 64);
    clients[0].tun().send(&up).expect("send");
    until("a packet waits in the device", || {
        server.counters().tun_writes > 0
    });
    // The far end of a socket that has not read everything goes: the next read fails.
    server.tuns.clear();
    clients.iter().for_each(assert_is_told_of_the_failure);
    let mut ended = 0;
    until("every session has ended", || {
        ended += server.ended.try_iter().count();
        ended == 8
    });
}

#[test]
fn a_worker_that_panics_tells_its_clients_at_once() {
    let server = Server::start(1);
    let clients: Vec<_> = (0..8).map(|_| Client::connect(&server)).collect();
    let mut settings = Client::settings(&ClientTrust::Pin(server.pin));
    settings.client_id = PANICS.into();
    let last = Client::start(settings);
    last.dial(1, server.addr, PacketSize::Full);
    clients.iter().for_each(assert_is_told_of_the_failure);
    assert!(matches!(last.event(), ClientEvent::Failed { .. }));
}

#[test]
fn a_peer_that_gets_its_packets_at_a_pace_is_told_of_the_drain_as_soon_as_others() {
    let mut server = Server::start(1);
    let mut settings = Client::settings(&ClientTrust::Pin(server.pin));
    settings.caps = Capabilities::NONE;
    let client = Client::connect_with(&server, settings);
    for _ in 0..200 {
        let down = packet(GATEWAY, client.inner, 1000);
        server.tuns[0].send(&down).expect("send");
    }
    server
        .workers
        .take()
        .expect("running")
        .drain("server shutting down");
    match client.event() {
        ClientEvent::Closed { reason, .. } => {
            assert!(reason.contains("server shutting down"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn packets_that_wait_for_their_pace_arrive_unchanged_and_in_order() {
    let server = Server::start(1);
    let mut settings = Client::settings(&ClientTrust::Pin(server.pin));
    settings.caps = Capabilities::NONE;
    let client = Client::connect_with(&server, settings);
    let sent: Vec<_> = (0..400)
        .map(|n| packet(GATEWAY, client.inner, if n % 3 == 0 { 60 } else { 800 + n }))
        .collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for down in &sent {
                server.tuns[0].send(down).expect("send");
            }
        });
        for (n, down) in sent.iter().enumerate() {
            assert_eq!(&receive(client.tun()), down, "packet {n}");
        }
    });
}

#[test]
fn a_packet_that_is_too_large_is_answered_from_an_address_that_the_kernel_believes() {
    let server = Server::start(1);
    let mut settings = Client::settings(&ClientTrust::Pin(server.pin));
    settings.mtu = 800;
    let client = Client::connect_with(&server, settings);
    let sender = Ipv4Addr::new(192, 0, 2, 7);
    let down = unfragmentable(packet(sender, client.inner, 1000));
    server.tuns[0].send(&down).expect("send");
    let answer = receive(&server.tuns[0]);
    assert_eq!(answer[9], 1, "ICMP");
    assert_eq!(answer[20..22], [3, 4], "fragmentation needed");
    assert_eq!(answer[26..28], 762u16.to_be_bytes());
    assert_eq!(answer[16..20], sender.octets());
    // The gateway's address is the server's own: out of a device the kernel drops it as martian.
    assert_eq!(answer[12..16], client.inner.octets());
    until("the drop is counted", || {
        server.drops(DropReason::DatagramOversize) == 1
    });
}

#[test]
fn a_restarted_server_resets_the_connections_of_its_predecessor() {
    let first = Server::start(1);
    let relay = Relay::to(first.addr);
    let settings = Client::settings(&ClientTrust::Pin(first.pin));
    let client = Client::connect_through(relay.addr, settings);
    // As after kill -9: nobody was told, and another process has the same key.
    let second = Server::start_with(1, first.tls.clone());
    relay.lead_to(second.addr);
    client
        .tun()
        .send(&packet(client.inner, GATEWAY, 64))
        .expect("send");
    assert_is_told_of_a_restart(&client);
}

/// Waits for the end of the connection by a stateless reset; that it is silent may be noticed
/// before.
#[track_caller]
fn assert_is_told_of_a_restart(client: &Client) {
    let closed = match client.event() {
        ClientEvent::Suspect { .. } => client.event(),
        other => other,
    };
    match closed {
        ClientEvent::Closed { reason, .. } => assert!(reason.contains("restarted"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_restarted_after_a_change_of_its_key_resets_connections_made_since() {
    let first = Server::start(1);
    let second_key = new_certificate();
    first.workers().use_tls(&second_key);
    let trust = ClientTrust::Pin(second_key.pin().parse().expect("a pin"));
    until("the new certificate is shown", || {
        let client = Client::start(Client::settings(&trust));
        client.dial(1, first.addr, PacketSize::Full);
        matches!(client.event(), ClientEvent::Established { .. })
    });
    let relay = Relay::to(first.addr);
    let client = Client::connect_through(relay.addr, Client::settings(&trust));
    let second = Server::start_with(1, second_key);
    relay.lead_to(second.addr);
    client
        .tun()
        .send(&packet(client.inner, GATEWAY, 64))
        .expect("send");
    assert_is_told_of_a_restart(&client);
}

#[test]
fn an_answer_that_fails_a_check_ends_the_attempt_and_its_session() {
    let server = Server::start(1);
    let mut settings = Client::settings(&ClientTrust::Pin(server.pin));
    settings.client_id = AT_THE_GATEWAY.into();
    let client = Client::start(settings);
    client.dial(1, server.addr, PacketSize::Full);
    let error = AssignmentError::SameAddress(GATEWAY.into());
    assert_eq!(
        client.event(),
        ClientEvent::Failed {
            attempt: AttemptId(1),
            error: DialError::Assignment(error)
        }
    );
    let ended = server.ended.recv_timeout(Duration::from_secs(5));
    ended.expect("the server is told");
}

#[test]
fn nobody_at_the_address_is_a_timeout() {
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
    let mut settings = Client::settings(&ClientTrust::Anyone);
    settings.dial_timeout = Duration::from_millis(300);
    let client = Client::start(settings);
    client.dial(3, silent.local_addr().expect("address"), PacketSize::Full);
    assert_eq!(
        client.event(),
        ClientEvent::Failed {
            attempt: AttemptId(3),
            error: DialError::Timeout
        }
    );
}

#[test]
fn of_two_attempts_with_one_ticket_one_asks_and_the_other_waits_its_turn() {
    let server = Server::start(2);
    let client = Client::start(Client::settings(&ClientTrust::Pin(server.pin)));
    client.dial_with(1, server.addr, PacketSize::Full, Some("ticket"));
    client.dial_with(2, server.addr, PacketSize::Base, Some("ticket"));
    let ClientEvent::Established { attempt: first, .. } = client.event() else {
        panic!("not established");
    };
    let began = std::time::Instant::now();
    let ClientEvent::Established {
        attempt: second, ..
    } = client.event()
    else {
        panic!("not established");
    };
    assert_ne!(first, second);
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn an_attempt_whose_rival_was_refused_still_gets_its_turn() {
    let server = Server::start(1);
    let client = Client::start(Client::settings(&ClientTrust::Pin(server.pin)));
    client.dial_with(1, server.addr, PacketSize::Full, Some("ticket"));
    client.dial_with(2, server.addr, PacketSize::Base, Some("ticket"));
    let ClientEvent::Established { attempt: first, .. } = client.event() else {
        panic!("not established");
    };
    client.worker.send(ClientCommand::Hangup(first));
    assert!(matches!(client.event(), ClientEvent::Established { attempt, .. } if attempt != first));
}

#[test]
fn a_thousand_connections_of_an_earlier_server_are_told_within_seconds_that_they_are_over() {
    let server = Server::start(1);
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    stranger.set_nonblocking(true).expect("no waiting");
    let start = Instant::now();
    let mut tokens = HashSet::new();
    let mut answer = [0; 1500];
    for number in 0..1_000_u64 {
        // A short header with the connection id of one of them, again and again until it is
        // answered, with one token for each connection id (RFC 9000 section 10.3).
        let mut datagram = [0x40; 60];
        datagram[1..9].copy_from_slice(&number.to_be_bytes());
        while tokens.len() <= number as usize {
            stranger.send_to(&datagram, server.addr).expect("sent");
            std::thread::sleep(Duration::from_micros(200));
            while let Ok(len) = stranger.recv(&mut answer) {
                assert!(len < datagram.len(), "shorter than its cause");
                tokens.insert(answer[len - 16..len].to_vec());
            }
            // With one reset in 20 ms it takes 20 s.
            let elapsed = start.elapsed();
            assert!(elapsed < Duration::from_secs(15), "{number} in {elapsed:?}");
        }
    }
}

/// The reply to an echo request with the identifier of the client's own ones.
fn echo_reply_from(source: Ipv4Addr, to: Ipv4Addr, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0; qdt_proto::packet::ECHO_LEN];
    qdt_proto::packet::echo_request(source.into(), to.into(), 0x7164, sequence, &mut packet)
        .expect("room");
    packet[20] = 0;
    packet[22..24].fill(0);
    let checksum = qdt_proto::packet::Sum::of(&packet[20..]).checksum();
    packet[22..24].copy_from_slice(&checksum.to_be_bytes());
    packet
}

#[test]
fn an_echo_reply_reaches_the_host_unless_it_is_the_gateways_to_a_request_of_the_clients_own() {
    let server = Server::start(1);
    let mut settings = Client::settings(&ClientTrust::Pin(server.pin));
    // A server without extensions is asked by echo requests.
    settings.caps = Capabilities::NONE;
    settings.probe_interval = Some(Duration::from_millis(200));
    let client = Client::connect_with(&server, settings);
    let request = receive(&server.tuns[0]);
    assert_eq!(request[9], 1, "ICMP");
    let asked = u16::from_be_bytes([request[26], request[27]]);
    let own = echo_reply_from(GATEWAY, client.inner, asked);
    // Of another host, and of the gateway to what was not asked: `ping -e 29028` of a program.
    for others in [
        echo_reply_from(Ipv4Addr::new(192, 0, 2, 7), client.inner, asked),
        echo_reply_from(GATEWAY, client.inner, asked.wrapping_add(1000)),
        echo_reply_from(GATEWAY, client.inner, asked.wrapping_sub(1)),
    ] {
        server.tuns[0].send(&others).expect("send");
        assert_eq!(receive(client.tun()), others);
    }
    // The client's own reply is kept from the host, once.
    let marker = packet(GATEWAY, client.inner, 64);
    for sent in [&own, &marker, &own] {
        server.tuns[0].send(sent).expect("send");
    }
    assert_eq!(receive(client.tun()), marker);
    assert_eq!(receive(client.tun()), own);
}
