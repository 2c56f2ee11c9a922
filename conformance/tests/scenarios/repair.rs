//! The client restores what other programs remove of its device, routes and tables, and almost
//! nothing bypasses the tunnel meanwhile.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use conformance::{
    Capture, Client, Config, Lab, Machine, Pinger, Server, at_full_length, wait_until,
};

use crate::SECOND;

/// What others do to a client's machine. Each is followed by what gives the machine itself back
/// what is its own.
const DISTURBANCES: [&str; 8] = [
    "ip link set qdt0 down; ip link set qdt0 up",
    "ip link set qdt0 down",
    "ip rule flush; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default",
    // As systemd-networkd does when it starts.
    "for pref in $(ip rule | sed -n 's/^\\([0-9]*\\):.* proto 113$/\\1/p')
     do ip rule del pref $pref; done",
    "ip route flush table 1902383028",
    "ip addr flush dev qdt0",
    "nft flush ruleset",
    "ip link set qdt0 mtu 1400",
];

/// Everything of a machine that a client changes, in an order that does not depend on when.
fn state(machine: &Machine) -> Vec<String> {
    let shown = [
        "-4 rule",
        "-4 route show table all",
        "-o link",
        "-o -4 address",
    ];
    let mut text = shown.map(|arguments| machine.ip(arguments)).join("\n");
    text += &machine.run("nft", &["list", "ruleset"]);
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// When echo requests left `machine` outside the tunnel.
fn pings_in_the_clear(machine: &Machine) -> (Capture, Arc<Mutex<Vec<Instant>>>) {
    let times = Arc::<Mutex<Vec<_>>>::default();
    let seen = times.clone();
    let capture = Capture::start(machine, "eth0", move |packet| {
        let bytes = &packet.packet;
        if packet.outgoing && bytes.get(9) == Some(&1) && bytes.get(20) == Some(&8) {
            seen.lock().expect("no holder panics").push(Instant::now());
        }
        false
    });
    (capture, times)
}

#[test]
fn removed_host_state_is_restored_within_a_second_and_logged_in_one_line_each() {
    let lab = Lab::new(1);
    let config = Config::server().set("nat", "{enabled: true, external_iface: eth0}");
    let _server = Server::start(&lab.server, config);
    let machine = &lab.clients[0];
    let config = Config::client().set("route_mode", "default");
    let mut client = Client::start(machine, config);
    let before = state(machine);
    let (_capture, clear) = pings_in_the_clear(machine);
    let pinger = Pinger::start(machine, Lab::INTERNET.into(), SECOND / 200);
    pinger.wait_for_reply_after(Instant::now(), 10 * SECOND);
    // A stalled processor is not a fault of the client; at full length nothing else runs.
    let (rounds, allowed) = if at_full_length() {
        (3, SECOND)
    } else {
        (1, 5 * SECOND)
    };
    let mut slowest = Duration::ZERO;
    let mut deeds = 0;
    for round in 0..rounds {
        for deed in DISTURBANCES {
            let done = Instant::now();
            machine.run("sh", &["-ec", deed]);
            let took = wait_until("everything is there again", 20 * SECOND, || {
                state(machine) == before
            });
            slowest = slowest.max(took);
            pinger.wait_for_reply_after(Instant::now(), 10 * SECOND);
            let mut clear = clear.lock().expect("no holder panics");
            let late = clear.iter().filter(|at| **at > done + allowed).count();
            assert_eq!(
                late, 0,
                "in the clear after {allowed:?}, round {round}: {deed}"
            );
            clear.clear();
            deeds += 1;
            // Twenty repairs a minute are allowed.
            if deeds % 12 == 0 {
                conformance::stay_silent(61 * SECOND);
            }
        }
    }
    assert!(client.ended().is_none());
    let log = client.stdout();
    println!("{deeds} deeds, all back after {slowest:?} at most\n{log}");
    let lines = log.matches("they are put back").count();
    // What takes two commands can be seen after the first.
    assert!((deeds..=2 * deeds).contains(&lines), "{lines}: {log}");
    // A packet that arrives while the device is down cannot be written; two deeds a round do that.
    let faults: Vec<_> = log
        .lines()
        .filter(|line| line.contains("level=ERROR"))
        .collect();
    let is_write = |line: &&str| line.contains("tun write error") && line.contains("os error 5");
    assert!(faults.iter().all(is_write), "{log}");
    assert!(faults.len() <= 2 * rounds, "{log}");
}

#[test]
fn a_device_that_is_deleted_ends_the_client_and_the_host_is_as_it_was() {
    let lab = Lab::new(1);
    let mut server = Server::start(&lab.server, Config::server());
    let machine = &lab.clients[0];
    let before = state(machine);
    let mut client = Client::start(machine, Config::client().set("route_mode", "default"));
    // No program writes into the device or reads from it: the client detects it all the same.
    server.kill();
    machine.ip("link del qdt0");
    assert_eq!(client.wait_for_exit(20 * SECOND), 1);
    assert_eq!(state(machine), before);
}
