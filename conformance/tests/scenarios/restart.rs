//! Ends and beginnings: a server that is killed, one that drains, a client
//! that is killed, and what the other side makes of it.

use std::time::{Duration, Instant};

use conformance::{Client, Config, Lab, Pinger, Server, tcp_download, wait_for, wait_until};

use crate::{SECOND, pair, pings};

/// A1: the clients come back unaided, to the same inner address.
#[test]
fn clients_reconnect_within_three_seconds_of_a_restart_of_a_killed_server() {
    let lab = Lab::new(1);
    let (mut server, client) = pair(&lab);
    let address = client.inner_address();
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
    let server = Server::spawn(&lab.server, Config::server());
    server.wait_until_udp_listens();
    let listens = Instant::now();
    let reply = pinger.wait_for_reply_after(killed + SECOND, 10 * SECOND);
    let gone = reply.at.saturating_duration_since(listens);
    assert!(
        gone <= 3 * SECOND,
        "the first ping came {gone:?} after the socket"
    );
    assert_eq!(client.inner_address(), address);
}

#[test]
fn a_tcp_connection_in_the_tunnel_survives_a_restart_of_the_server() {
    let lab = Lab::new(1);
    let (mut server, client) = pair(&lab);
    // The peer sits behind the gateway's machine, on an address that stays.
    lab.server.ip("address add 172.16.0.1/32 dev lo");
    client.machine().ip("route add 172.16.0.1/32 dev qdt0");
    std::thread::scope(|scope| {
        let download = scope.spawn(|| {
            tcp_download(
                client.machine(),
                &lab.server,
                "172.16.0.1".parse().expect("an address"),
                40_000_000,
                60 * SECOND,
            )
        });
        let before = server.metrics().value("qdt_bytes_total{direction=\"out\"}");
        wait_until("the download is under way", 10 * SECOND, || {
            server.metrics().value("qdt_bytes_total{direction=\"out\"}") > before + 1e6
        });
        server.kill();
        let again = Server::start(&lab.server, Config::server());
        download
            .join()
            .expect("the download ends with equal digests");
        drop(again);
    });
}

/// A2: a draining server closes every session at once and leaves nothing behind.
#[test]
fn twenty_clients_detect_a_stop_of_the_server_at_once() {
    let lab = Lab::new(20);
    let config = Config::server().set("nat", "{enabled: true, external_iface: eth0}");
    let mut server = Server::start(&lab.server, config);
    let mut clients: Vec<_> = lab
        .clients
        .iter()
        .map(|machine| Client::spawn(machine, Config::client()))
        .collect();
    for client in &mut clients {
        client.wait_until_connected();
    }
    assert!(lab.server.run("nft", &["list", "tables"]).contains("qdt"));
    server.signal(libc::SIGTERM);
    for client in &mut clients {
        client.wait_for_line("connection lost", SECOND);
    }
    assert_eq!(server.wait_for_exit(5 * SECOND), 0);
    assert_eq!(
        lab.server.run("nft", &["list", "tables"]),
        "",
        "tables left"
    );
    assert!(
        clients.iter_mut().all(|client| client.ended().is_none()),
        "they wait for it"
    );
    let _again = Server::start(&lab.server, Config::server());
    for client in &mut clients {
        client.wait_until_connected();
    }
}

#[test]
fn clients_of_every_worker_detect_a_failure_of_the_server_at_once() {
    let lab = Lab::new(4);
    let config = Config::server().set("send_workers", "2");
    let mut server = Server::start(&lab.server, config);
    let mut clients: Vec<_> = lab
        .clients
        .iter()
        .map(|machine| Client::start(machine, Config::client()))
        .collect();
    lab.server.ip("link del qdt0");
    for client in &mut clients {
        // By itself a client that is idle would look for an answer after seconds only.
        let line = client.wait_for_line("connection lost", SECOND);
        assert!(line.contains("server failed"), "{line}");
    }
    assert_eq!(server.wait_for_exit(5 * SECOND), 1);
    let _again = Server::start(&lab.server, Config::server());
    for client in &mut clients {
        client.wait_until_connected();
    }
}

#[test]
fn a_killed_client_connects_again_after_a_restart() {
    let lab = Lab::new(1);
    let (_server, mut client) = pair(&lab);
    client.kill();
    drop(client);
    let client = Client::start(&lab.clients[0], Config::client());
    assert!(pings(&client));
}

#[test]
fn a_stopped_client_ends_its_session_and_removes_its_device() {
    let lab = Lab::new(1);
    let (server, mut client) = pair(&lab);
    for signal in [libc::SIGTERM, libc::SIGINT] {
        client.signal(signal);
        assert_eq!(client.wait_for_exit(5 * SECOND), 0);
        wait_until("the session is over", 2 * SECOND, || {
            server.metrics().sessions() == 0.0
        });
        assert_eq!(client.inner_address(), None);
        client = Client::start(&lab.clients[0], Config::client());
    }
}

#[test]
fn a_client_that_waits_for_its_server_connects_as_soon_as_there_is_one() {
    let lab = Lab::new(1);
    let mut client = Client::spawn(&lab.clients[0], Config::client());
    client.wait_for_line("connect failed", 15 * SECOND);
    let _server = Server::start(&lab.server, Config::server());
    client.wait_until_connected();
}

#[test]
fn a_wrong_token_ends_the_client_with_the_recorded_message() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    let config = Config::client().set("token", "another-token-of-32-characters-1");
    let mut client = Client::spawn(&lab.clients[0], config);
    assert_eq!(client.wait_for_exit(10 * SECOND), 1);
    let line = wait_for("the message", SECOND, || {
        client
            .stdout()
            .lines()
            .find(|line| line.contains("client error"))
            .map(str::to_owned)
    });
    assert!(
        line.contains(r#"err="connect failed: 401 Unauthorized (unauthorized\n)""#),
        "{line}"
    );
}

/// A22: also while no connection carries the tunnel.
#[test]
fn a_device_that_is_deleted_while_the_client_reconnects_ends_the_client_at_once() {
    let lab = Lab::new(1);
    let (mut server, mut client) = pair(&lab);
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait_for_exit(10 * SECOND), 0);
    client.wait_for_line("connection lost", 10 * SECOND);
    let deleted = Instant::now();
    client.machine().ip("link del qdt0");
    assert_eq!(client.wait_for_exit(2 * SECOND), 1);
    assert!(deleted.elapsed() < 2 * SECOND, "{:?}", deleted.elapsed());
    let log = client.stdout();
    let said = log.lines().find(|line| line.contains("client error"));
    let said = said.unwrap_or_else(|| panic!("no error was said:\n{log}"));
    assert!(said.contains("deleted") || said.contains("gone"), "{said}");
}
