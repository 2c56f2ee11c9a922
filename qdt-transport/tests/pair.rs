//! Tests of a client and a server that carry packets over real QUIC on loopback.

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
fn a_packet_of_the_tunnels_mtu_needs_one_datagram_from_the_start() {
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
fn full_packets_arrive_in_fragments_on_a_path_of_the_base_size() {
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
fn a_packet_with_a_foreign_source_never_reaches_the_tun() {
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
fn packets_to_link_local_and_loopback_addresses_are_dropped_and_counted_except_opened_ones() {
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
fn packets_between_clients_do_not_pass_the_kernel() {
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
fn a_wrong_token_is_answered_with_the_documented_text() {
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
fn a_certificate_other_than_the_pinned_one_is_refused_with_a_reason() {
    let (server, other) = (Server::start(1), Server::start(1));
    let client = Client::start(Client::settings(&ClientTrust::Pin(other.pin)));
    client.dial(1, server.addr, PacketSize::Full);
    match client.event() {
        ClientEvent::Failed {
            error: DialError::Certificate(text),
            ..
        } => {
            assert!(text.contains("server_pin"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_draining_server_closes_every_connection_at_once() {
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

/// Waits for the close of a failed server.
#[track_caller]
fn assert_closed_by_failure(client: &Client) {
    match client.event() {
        ClientEvent::Closed { reason, .. } => assert!(reason.contains("server failed"), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_worker_whose_device_fails_closes_its_connections_at_once() {
    let mut server = Server::start(1);
    let clients: Vec<_> = (0..8).map(|_| Client::connect(&server)).collect();
    let up = packet(clients[0].inner, GATEWAY, 64);
    clients[0].tun().send(&up).expect("send");
    until("a packet waits in the device", || {
        server.counters().tun_writes > 0
    });
    // The far end closes with unread data: the next read fails.
    server.tuns.clear();
    clients.iter().for_each(assert_closed_by_failure);
    let mut ended = 0;
    until("every session has ended", || {
        ended += server.ended.try_iter().count();
        ended == 8
    });
}

#[test]
fn a_worker_that_panics_closes_its_connections_at_once() {
    let server = Server::start(1);
    let clients: Vec<_> = (0..8).map(|_| Client::connect(&server)).collect();
    let mut settings = Client::settings(&ClientTrust::Pin(server.pin));
    settings.client_id = PANICS.into();
    let last = Client::start(settings);
    last.dial(1, server.addr, PacketSize::Full);
    clients.iter().for_each(assert_closed_by_failure);
    assert!(matches!(last.event(), ClientEvent::Failed { .. }));
}

#[test]
fn a_paced_connection_is_closed_by_a_drain_at_once() {
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
fn paced_packets_arrive_unchanged_and_in_order() {
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
fn a_packet_that_is_too_large_is_answered_from_an_address_that_the_kernel_accepts() {
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
    // The gateway's address is local: the kernel drops it from a device as martian.
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
    // As after kill -9: no connection was closed, and another process has the same key.
    let second = Server::start_with(1, first.tls.clone());
    relay.switch_to(second.addr);
    client
        .tun()
        .send(&packet(client.inner, GATEWAY, 64))
        .expect("send");
    assert_reset_by_restart(&client);
}

/// Waits for the connection's end by a stateless reset, which the client may suspect before.
#[track_caller]
fn assert_reset_by_restart(client: &Client) {
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
    relay.switch_to(second.addr);
    client
        .tun()
        .send(&packet(client.inner, GATEWAY, 64))
        .expect("send");
    assert_reset_by_restart(&client);
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
    ended.expect("the policy gets a report");
}

#[test]
fn a_dial_without_an_answer_times_out() {
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
fn two_attempts_with_one_ticket_send_their_requests_one_after_the_other() {
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
fn an_attempt_sends_its_request_once_its_rival_is_closed() {
    let server = Server::start(1);
    let client = Client::start(Client::settings(&ClientTrust::Pin(server.pin)));
    client.dial_with(1, server.addr, PacketSize::Full, Some("ticket"));
    client.dial_with(2, server.addr, PacketSize::Base, Some("ticket"));
    let ClientEvent::Established { attempt: first, .. } = client.event() else {
        panic!("not established");
    };
    client.worker.send(ClientCommand::Close(first));
    assert!(matches!(client.event(), ClientEvent::Established { attempt, .. } if attempt != first));
}

#[test]
fn a_thousand_connections_of_an_earlier_server_are_reset_within_seconds() {
    let server = Server::start(1);
    let stranger = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    stranger.set_nonblocking(true).expect("no waiting");
    let start = Instant::now();
    let mut tokens = HashSet::new();
    let mut answer = [0; 1500];
    for number in 0..1_000_u64 {
        // A short header with the connection id of one of them, repeated until it is answered, with
        // one token per connection id (RFC 9000 section 10.3).
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

/// Returns the reply to an echo request with the identifier of the client's own ones.
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
fn an_echo_reply_reaches_the_host_unless_it_answers_the_clients_own_probe() {
    let server = Server::start(1);
    let mut settings = Client::settings(&ClientTrust::Pin(server.pin));
    // A server without extensions is probed by echo requests.
    settings.caps = Capabilities::NONE;
    settings.probe_interval = Some(Duration::from_millis(200));
    let client = Client::connect_with(&server, settings);
    let request = receive(&server.tuns[0]);
    assert_eq!(request[9], 1, "ICMP");
    let probe = u16::from_be_bytes([request[26], request[27]]);
    let own = echo_reply_from(GATEWAY, client.inner, probe);
    // From another host, and from the gateway to requests of other programs, like `ping -e 29028`.
    for others in [
        echo_reply_from(Ipv4Addr::new(192, 0, 2, 7), client.inner, probe),
        echo_reply_from(GATEWAY, client.inner, probe.wrapping_add(1000)),
        echo_reply_from(GATEWAY, client.inner, probe.wrapping_sub(1)),
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
