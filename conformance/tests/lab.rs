//! The lab holds what it promises: machines reach each other as drawn, the
//! impairments impair, and nothing of it shows on the host.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::{Duration, Instant};

use conformance::{
    Capture, DnsResponder, Lab, Pinger, Process, Reflector, dns_query, ping, ping_df, reflect,
    tcp_download, tcp_transfer, udp_echo_sizes,
};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn every_client_reaches_the_server_and_the_internet_over_both_families() {
    let lab = Lab::new(2);
    for (n, client) in lab.clients.iter().enumerate() {
        for target in [
            IpAddr::V4(Lab::SERVER),
            IpAddr::V6(Lab::SERVER_V6),
            IpAddr::V4(Lab::INTERNET),
        ] {
            assert!(
                ping(client, target, 56, SECOND).is_some(),
                "{target} from client {n}"
            );
        }
    }
    let seen = Reflector::start(&lab.internet);
    assert_eq!(
        reflect(&lab.clients[1], Lab::INTERNET),
        Some(Lab::client_address(1).into()),
        "nothing translates addresses on the outer path"
    );
    drop(seen);
}

/// What a router forgets on its own after a minute without traffic.
#[test]
fn routers_find_their_neighbours_again_after_they_forgot_them() {
    let lab = Lab::new(1);
    for router in [&lab.edge, &lab.core] {
        for family in ["-4", "-6"] {
            router.ip(&format!("{family} neigh flush all"));
        }
    }
    for target in [IpAddr::V4(Lab::SERVER), IpAddr::V6(Lab::SERVER_V6)] {
        let answer = ping(&lab.clients[0], target, 56, SECOND);
        assert!(answer.is_some(), "{target}");
    }
}

#[test]
fn a_larger_packet_than_the_middle_link_carries_is_answered_with_too_big() {
    let lab = Lab::new(1);
    lab.path_mtu(1300);
    let client = &lab.clients[0];
    let server = IpAddr::V4(Lab::SERVER);
    assert!(matches!(ping_df(client, server, 1272, SECOND), Ok(Some(_))));
    // The first one is lost on the way, and the router's answer teaches the kernel.
    assert!(matches!(
        ping_df(client, server, 1273, SECOND),
        Ok(None) | Err(_)
    ));
    assert!(ping_df(client, server, 1273, SECOND).is_err());
}

#[test]
fn a_cut_stops_everything_until_it_heals_and_loss_loses_some() {
    let lab = Lab::new(1);
    let pinger = Pinger::start(
        &lab.clients[0],
        Lab::SERVER.into(),
        Duration::from_millis(5),
    );
    pinger.wait_for_reply_after(Instant::now(), SECOND);
    lab.cut();
    assert!(ping(&lab.clients[0], Lab::SERVER.into(), 56, SECOND / 4).is_none());
    lab.heal();
    pinger.wait_for_reply_after(Instant::now(), SECOND);
    drop(pinger);

    lab.lose_percent(20);
    let lost = (0..200)
        .filter(|_| {
            ping(
                &lab.clients[0],
                Lab::SERVER.into(),
                56,
                Duration::from_millis(20),
            )
            .is_none()
        })
        .count();
    assert!(
        (30..120).contains(&lost),
        "{lost} of 200 lost at 20 % each way"
    );
}

#[test]
fn transfers_and_echoes_carry_every_byte() {
    let lab = Lab::new(1);
    let client = &lab.clients[0];
    tcp_transfer(client, &lab.server, Lab::SERVER, 5_000_000, 20 * SECOND);
    tcp_download(client, &lab.server, Lab::SERVER, 5_000_000, 20 * SECOND);
    let missing = udp_echo_sizes(client, &lab.server, Lab::SERVER.into(), 1400..=1600);
    assert!(missing.is_empty(), "not echoed: {missing:?}");
}

#[test]
fn a_name_is_resolved_and_the_responder_records_the_asker() {
    let lab = Lab::new(1);
    let responder = DnsResponder::start(&lab.internet);
    let answer = dns_query(&lab.clients[0], Lab::INTERNET, "www.example.org");
    assert_eq!(answer.ok(), Some(DnsResponder::ANSWER));
    assert_eq!(responder.askers(), [IpAddr::V4(Lab::client_address(0))]);
}

#[test]
fn a_capture_sees_what_crosses_the_interface() {
    let lab = Lab::new(1);
    let capture = Capture::start(&lab.core, "mid", |captured| {
        captured.packet.get(9) == Some(&1)
    });
    assert!(ping(&lab.clients[0], Lab::SERVER.into(), 100, SECOND).is_some());
    let request = capture.wait_for("the echo request", SECOND, |captured| !captured.outgoing);
    assert_eq!(request.packet.len(), 128);
    assert_eq!(request.packet[12..16], Lab::client_address(0).octets());
    capture.wait_for("the echo reply", SECOND, |captured| captured.outgoing);
}

#[test]
fn a_limited_link_carries_no_more_than_its_rate() {
    let lab = Lab::new(1);
    lab.limit_mbit(20);
    let transfer = tcp_transfer(
        &lab.clients[0],
        &lab.server,
        Lab::SERVER,
        5_000_000,
        20 * SECOND,
    );
    let rate = transfer.mbit_per_second();
    assert!(
        (5.0..21.0).contains(&rate),
        "{rate} Mbit/s over a link of 20"
    );
}

#[test]
fn a_program_sees_its_machine_only_and_dies_with_its_owner() {
    let lab = Lab::new(0);
    lab.server
        .ip("link add unseen0 type veth peer name unseen1");
    let seen = lab.server.run("ls", &["/sys/class/net"]);
    assert!(seen.contains("unseen0") && seen.contains("eth0"), "{seen}");
    assert!(
        lab.server
            .run("cat", &["/etc/resolv.conf"])
            .contains("written by the lab")
    );
    for folder in ["run", "etc"] {
        let file = format!("{folder}/a-file-of-the-machine");
        lab.server.run("touch", &[&format!("/{file}")]);
        assert!(!Path::new(&format!("/{file}")).exists());
        assert!(lab.server.folder().join(file).exists());
    }
    assert!(!Path::new("/sys/class/net/unseen0").exists());

    let process = Process::start(&lab.server, "sleeper", "/bin/sleep".as_ref(), &["1000"]);
    let pid = process.pid();
    drop(process);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn unused_addresses_do_not_answer() {
    let lab = Lab::new(1);
    let nobody = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));
    assert!(ping(&lab.clients[0], nobody, 56, SECOND / 4).is_none());
}
