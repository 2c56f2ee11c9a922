//! A second start of the client on a machine where one runs: refused, and without any effect on the
//! one that runs.

use std::fs;
use std::time::Instant;

use conformance::{Capture, Client, Config, Lab, Machine, Pinger, Server, at_full_length};

use crate::SECOND;

/// Everything of a machine that a client changes.
fn state(machine: &Machine) -> String {
    let shown = [
        "-4 rule",
        "-4 route show table all",
        "-o link",
        "-o address",
    ];
    let mut text = shown.map(|arguments| machine.ip(arguments)).join("\n");
    text += &machine.run("nft", &["list", "ruleset"]);
    for file in ["resolv.conf", "resolv.conf.qdt-backup"] {
        text += &fs::read_to_string(machine.folder().join("etc").join(file)).unwrap_or_default();
    }
    text
}

/// Counts the echo requests that leave `machine` outside the tunnel.
fn pings_in_the_clear(machine: &Machine) -> Capture {
    Capture::start(machine, "eth0", |seen| {
        seen.outgoing && seen.packet.get(9) == Some(&1) && seen.packet.get(20) == Some(&8)
    })
}

#[test]
fn a_second_start_with_the_same_tun_name_fails_and_leaves_the_running_client_undisturbed() {
    let lab = Lab::new(1);
    let config = Config::server()
        .set("nat", "{enabled: true, external_iface: eth0}")
        .set("dns", "[203.0.113.2]");
    let _server = Server::start(&lab.server, config);
    let machine = &lab.clients[0];
    let config = Config::client().set("route_mode", "default");
    let mut first = Client::start(machine, config.clone());
    let before = state(machine);
    let capture = pings_in_the_clear(machine);
    let pinger = Pinger::start(machine, Lab::INTERNET.into(), SECOND / 200);
    pinger.wait_for_reply_after(Instant::now(), 10 * SECOND);
    let repetitions = if at_full_length() { 20 } else { 4 };
    for number in 0..repetitions {
        // One that could connect, and one that could not.
        let config = match number % 2 {
            0 => config.clone(),
            _ => config.clone().set("token", "no-such-token-at-all"),
        };
        let mut second = Client::spawn(machine, config);
        assert_eq!(second.wait_for_exit(20 * SECOND), 1);
        assert_eq!(state(machine), before, "start {number}");
        pinger.wait_for_reply_after(Instant::now(), 10 * SECOND);
    }
    let (sent, _) = pinger.stop();
    assert_eq!(capture.packets().len(), 0, "in the clear, of {sent} pings");
    assert!(first.ended().is_none());
    let refused = "err=\"a qdt-client with tun_name `qdt0`, or with one that leads to the same \
                   routing table 1902383028, is running on this host: stop it or set another";
    let lines = first.stdout();
    assert_eq!(lines.matches(refused).count(), repetitions, "{lines}");
}

#[test]
fn after_a_kill_the_next_start_cleans_up_and_connects() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    let machine = &lab.clients[0];
    let before = state(machine);
    let config = Config::client().set("route_mode", "default");
    for _ in 0..3 {
        let mut killed = Client::start(machine, config.clone());
        killed.kill();
        assert_ne!(state(machine), before);
    }
    let mut last = Client::start(machine, config);
    last.signal(libc::SIGTERM);
    assert_eq!(last.wait_for_exit(10 * SECOND), 0);
    assert_eq!(state(machine), before);
}

#[test]
fn two_clients_with_different_tun_names_start_and_stop_independently() {
    let lab = Lab::new(1);
    let _server = Server::start(&lab.server, Config::server());
    let machine = &lab.clients[0];
    let config = Config::client().set("route_mode", "none");
    let mut first = Client::start(machine, config.clone());
    let before = state(machine);
    // Its routes are gone for a moment, its rules are not left over.
    let second = config.set("tun_name", "qdt7").set("route_mode", "cidr");
    let mut second = Client::spawn(machine, second);
    second.wait_until_connected();
    second.signal(libc::SIGTERM);
    assert_eq!(second.wait_for_exit(10 * SECOND), 0);
    assert_eq!(state(machine), before);
    assert!(first.ended().is_none());
}

#[test]
fn a_second_server_with_the_same_tun_name_fails_and_the_running_one_keeps_its_rules() {
    let lab = Lab::new(1);
    let config = Config::server().set("nat", "{enabled: true, external_iface: eth0}");
    let mut first = Server::start(&lab.server, config.clone());
    let machine = &lab.clients[0];
    let _client = Client::start(machine, Config::client().set("route_mode", "default"));
    let pinger = Pinger::start(machine, Lab::INTERNET.into(), SECOND / 100);
    pinger.wait_for_reply_after(Instant::now(), 10 * SECOND);
    let before = state(&lab.server);
    // Also one that wants no address translation, and one whose port would be free.
    for config in [
        config.clone(),
        Config::server(),
        config.set("addr", "\":444\""),
    ] {
        let mut second = Server::spawn(&lab.server, config);
        assert_eq!(second.wait_for_exit(20 * SECOND), 1);
        assert_eq!(state(&lab.server), before);
        pinger.wait_for_reply_after(Instant::now(), 10 * SECOND);
    }
    assert!(first.ended().is_none());
    let log = first.stdout();
    let refused = "TUN device `qdt0` is in use by another process";
    assert_eq!(log.matches(refused).count(), 3, "{log}");
}
