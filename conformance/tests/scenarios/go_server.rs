//! Our client on an unmodified Go server.

use std::time::{Duration, Instant};

use conformance::{
    Client, Config, Lab, Pinger, Server, ping, stay_silent, tcp_download, tcp_transfer, wait_until,
};

use crate::{SECOND, pings};

fn go_pair(lab: &Lab) -> (Server<'_>, Client<'_>) {
    let server = Server::start_go(&lab.server, Config::server());
    let client = Client::start(&lab.clients[0], Config::client());
    (server, client)
}

#[test]
fn our_client_pings_through_a_go_server() {
    let lab = Lab::new(1);
    let (_server, client) = go_pair(&lab);
    for size in [0, 56, 1100, 1176, 1300, 4000] {
        assert!(
            ping(client.machine(), Lab::GATEWAY.into(), size, SECOND).is_some(),
            "{size} bytes"
        );
    }
}

#[test]
fn tcp_passes_in_each_direction_between_our_client_and_a_go_server_without_a_fragment() {
    let lab = Lab::new(1);
    let (mut server, mut client) = go_pair(&lab);
    tcp_transfer(
        client.machine(),
        &lab.server,
        Lab::GATEWAY,
        20_000_000,
        60 * SECOND,
    );
    tcp_download(
        client.machine(),
        &lab.server,
        Lab::GATEWAY,
        20_000_000,
        60 * SECOND,
    );
    client.signal(libc::SIGTERM);
    assert_eq!(client.wait_for_exit(5 * SECOND), 0);
    let line = server.wait_for_line("session closed", 5 * SECOND);
    assert!(
        line.contains("fragments_sent=0 fragments_received=0"),
        "{line}"
    );
}

#[test]
fn full_size_packets_in_the_first_second_do_not_end_the_session_on_a_go_server() {
    let lab = Lab::new(1);
    let (server, client) = go_pair(&lab);
    let full = client.device_mtu() - 28;
    for _ in 0..20 {
        let _ = ping(client.machine(), Lab::GATEWAY.into(), full, SECOND / 20);
    }
    assert!(pings(&client));
    assert!(
        !server.stdout().contains("session closed"),
        "{}",
        server.stdout()
    );
}

/// The Go server reaps what sends no inner packet; probing keeps it alive.
#[test]
fn an_idle_client_keeps_its_session_on_a_go_server_alive_by_probing() {
    let lab = Lab::new(1);
    let server = Server::start_go(&lab.server, Config::server().set("session_timeout", "4s"));
    let client = Client::start(
        &lab.clients[0],
        Config::client().set("probe_interval", "1s"),
    );
    stay_silent(10 * SECOND);
    assert!(pings(&client));
    assert!(
        !server.stdout().contains("session closed"),
        "{}",
        server.stdout()
    );
}

/// Nothing tells the client but the missing reply to its probes.
#[test]
fn a_session_that_the_go_server_dropped_silently_is_replaced() {
    let lab = Lab::new(1);
    let config = Config::server().set("session_timeout", "2s");
    let mut server = Server::start_go(&lab.server, config);
    let client = Client::start(
        &lab.clients[0],
        Config::client().set("probe_interval", "4s"),
    );
    server.wait_for_line("session closed", 10 * SECOND);
    wait_until("the tunnel is back", 15 * SECOND, || pings(&client));
}

/// A1 for a Go server, which sends no stateless reset.
#[test]
fn our_client_reconnects_within_three_seconds_after_a_killed_go_server_listens_again() {
    let lab = Lab::new(1);
    let (mut server, client) = go_pair(&lab);
    let pinger = Pinger::start(
        client.machine(),
        Lab::GATEWAY.into(),
        Duration::from_millis(50),
    );
    pinger.wait_for_reply_after(Instant::now(), SECOND);
    server.kill();
    let killed = Instant::now();
    wait_until("a second without a server", 2 * SECOND, || {
        killed.elapsed() >= SECOND
    });
    let _server = Server::start_go(&lab.server, Config::server());
    let listens = Instant::now();
    let reply = pinger.wait_for_reply_after(killed + SECOND, 15 * SECOND);
    let gone = reply.at.saturating_duration_since(listens);
    assert!(
        gone <= 3 * SECOND,
        "the first ping came {gone:?} after the socket"
    );
}

#[test]
fn a_go_server_over_ipv6_serves_our_client_by_address_and_by_name() {
    let lab = Lab::new(1);
    let _server = Server::start_go(&lab.server, Config::server());
    for server in ["\"[2001:db8:2::2]:443\"", "vpn6.lab:443"] {
        let client = Client::start(&lab.clients[0], Config::client().set("server", server));
        assert!(pings(&client), "{server}");
    }
}

#[test]
fn a_programs_ping_with_the_identifier_of_our_own_probes_loses_nothing() {
    let lab = Lab::new(1);
    let server = Server::start_go(&lab.server, Config::server());
    // Echo requests of the client's own are out all the time.
    let client = Client::start(
        &lab.clients[0],
        Config::client().set("probe_interval", "200ms"),
    );
    for target in [Lab::GATEWAY, Lab::SERVER] {
        let said = client.machine().run(
            "ping",
            &[
                "-n",
                "-e",
                "29028",
                "-i",
                "0.1",
                "-c",
                "30",
                "-W",
                "2",
                "-I",
                "qdt0",
                &target.to_string(),
            ],
        );
        assert!(said.contains("30 received"), "{said}");
    }
    drop(server);
}
