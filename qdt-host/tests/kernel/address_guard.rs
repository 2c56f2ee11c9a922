//! The visibility of a client's inner address on its LAN.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use qdt_host::{HostRoutes, RouteMode, Routes};

use crate::{
    client::Host,
    router::{nothing_waits, receive, socket},
};

/// Resolves the tunnel's address from a host of the LAN; returns whether there was an answer.
fn is_answered(host: &Host) -> bool {
    host.lan
        .sh("ip neigh flush all; ip route replace 10.8.0.5/32 dev lan0
                 sysctl -qw net.ipv4.neigh.lan0.retrans_time_ms=20");
    let prober = socket(&host.lan, "192.168.1.1:0");
    prober
        .send_to(b"who", "10.8.0.5:9")
        .expect("it can be sent");
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let shown = host.lan.sh("ip neigh show to 10.8.0.5 dev lan0");
        if shown.contains("lladdr") {
            return true;
        }
        if shown.contains("FAILED") {
            return false;
        }
        assert!(
            Instant::now() < deadline,
            "neither answered nor given up: {shown}"
        );
    }
}

#[test]
fn the_tunnel_address_does_not_answer_arp_on_the_lan() {
    let host = Host::new();
    assert!(is_answered(&host), "this is the default of Linux");
    host.install(RouteMode::None);
    assert!(!is_answered(&host));
    let service = socket(&host.namespace, "192.168.1.2:9");
    host.lan.sh("ip neigh flush all");
    socket(&host.lan, "192.168.1.1:0")
        .send_to(b"hello", "192.168.1.2:9")
        .unwrap();
    assert_eq!(
        receive(&service).0,
        b"hello",
        "the host's own address answers as before"
    );
    host.namespace
        .block_on(async || HostRoutes.remove("qdt0").await.unwrap());
    assert!(is_answered(&host), "and nothing stays behind");
}

#[test]
fn packets_from_the_lan_to_the_tunnel_address_are_dropped_and_those_of_the_tunnel_arrive() {
    let host = Host::new();
    host.install(RouteMode::Default);
    let service = socket(&host.namespace, "0.0.0.0:9");
    let mac = host.namespace.sh("ip -o link show eth0");
    let mac = mac
        .split("link/ether ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    host.lan.sh(&format!(
        "ip route replace 10.8.0.5/32 dev lan0
         ip neigh replace 10.8.0.5 lladdr {mac} dev lan0"
    ));
    let prober = socket(&host.lan, "192.168.1.1:0");
    prober.send_to(b"probe", "10.8.0.5:9").unwrap();
    prober.send_to(b"honest", "192.168.1.2:9").unwrap();
    assert_eq!(
        receive(&service).0,
        b"honest",
        "what was sent before it was dropped"
    );

    let mut packet = Vec::new();
    packet.extend_from_slice(&[0x45, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend_from_slice(&[203, 0, 113, 9, 10, 8, 0, 5]);
    let checksum = checksum(&packet);
    packet[10..12].copy_from_slice(&checksum);
    packet.extend_from_slice(&[0, 53, 0, 9, 0, 13, 0, 0]);
    packet.extend_from_slice(b"inner");
    host.tun.queues[0].write(&packet).unwrap();
    assert_eq!(receive(&service).0, b"inner");

    nothing_waits(&service);
    let own = host
        .namespace
        .run(|| UdpSocket::bind("10.8.0.5:0").unwrap());
    own.send_to(b"own", "10.8.0.5:9").unwrap();
    assert_eq!(receive(&service).0, b"own", "the host itself may use it");
}

#[test]
fn where_it_cannot_be_prevented_there_is_a_warning_and_the_routes_stay() {
    let host = Host::new();
    let plan = crate::client::plan(RouteMode::Default);
    let warnings = host.namespace.block_on(async || {
        crate::namespace::hide("/usr/sbin/nft");
        HostRoutes.install(&plan).await.unwrap()
    });
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "the tunnel's address 10.8.0.5 answers on the networks this host is in, which tells them \
          of the tunnel (nat: the program `nft` is missing: install the package nftables (`apt \
          install nftables`))"
        ]
    );
    assert_eq!(host.way("203.0.113.9"), "qdt0");
}

/// RFC 1071
fn checksum(header: &[u8]) -> [u8; 2] {
    let words = header
        .chunks_exact(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    (!((sum & 0xffff) + (sum >> 16)) as u16).to_be_bytes()
}
