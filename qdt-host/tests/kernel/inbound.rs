//! Connections from beyond the LAN to a host with a default route into the tunnel.

use std::{
    io::{ErrorKind, Read, Write},
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use qdt_host::{HostRoutes, RouteIdentity, RouteMode, RoutePlan, Routes, Tun};

use crate::{
    client::{Host, open_tun, plan},
    router::{nothing_waits, receive, socket},
};

/// A host on the internet.
const PEER: &str = "203.0.113.9";
/// An address of the host itself.
const PUBLIC: &str = "198.51.100.7";

/// A host whose provider gave it a public address.
fn public_host() -> Host {
    let host = Host::new();
    host.namespace
        .sh("ip addr add 198.51.100.7/24 dev eth0; ip route replace default via 198.51.100.1");
    // The peer is the router itself here; a router asks for its neighbours with its own address.
    host.lan
        .sh("ip addr add 198.51.100.1/24 dev lan0; sysctl -qw net.ipv4.conf.lan0.arp_announce=2");
    host
}

fn remove(host: &Host) {
    host.namespace.block_on(async || {
        HostRoutes
            .remove("qdt0")
            .await
            .expect("the test's own network works")
    });
}

/// A connection from the peer to `port` of the host: the peer's end and the host's.
fn connect(host: &Host, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let target = listener.local_addr().expect("the test's own network works");
    let port = target.port();
    let peer = host.lan.run(|| {
        let socket = socket2::Socket::new(
            socket2::Domain::IPV4,
            socket2::Type::STREAM,
            Some(socket2::Protocol::TCP),
        )
        .expect("the test's own network works");
        let own: std::net::SocketAddr = format!("{PEER}:0")
            .parse()
            .expect("the test's own network works");
        let target: std::net::SocketAddr = format!("{PUBLIC}:{port}")
            .parse()
            .expect("the test's own network works");
        socket
            .bind(&own.into())
            .expect("the test's own network works");
        socket
            .connect_timeout(&target.into(), Duration::from_secs(10))
            .expect("the host answers");
        TcpStream::from(socket)
    });
    let (accepted, _) = listener.accept().expect("the test's own network works");
    for stream in [&peer, &accepted] {
        let patience = Some(Duration::from_secs(10));
        stream
            .set_read_timeout(patience)
            .expect("the test's own network works");
    }
    (peer, accepted)
}

fn listen(host: &Host, address: &str) -> TcpListener {
    host.namespace
        .run(|| TcpListener::bind(address).expect("the test's own network works"))
}

#[track_caller]
fn arrives(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"hello")
        .expect("the test's own network works");
    let mut buffer = [0; 5];
    to.read_exact(&mut buffer).expect("it arrives");
    assert_eq!(&buffer, b"hello");
}

/// Waits for a packet in the tunnel from this host to the peer.
#[track_caller]
fn enters_the_tunnel(host: &Host) {
    enters(&host.tun, [203, 0, 113, 9]);
}

/// Waits for a packet to `destination` in the tunnel of `tun`.
#[track_caller]
fn enters(tun: &Tun, destination: [u8; 4]) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut buffer = [0; 65_536];
    while Instant::now() < deadline {
        match tun.queues[0].read(&mut buffer) {
            Ok(len) if len >= 20 && buffer[16..20] == destination => return,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("the tunnel cannot be read: {error}"),
        }
    }
    panic!("nothing for {destination:?} entered the tunnel");
}

#[test]
fn a_connection_from_outside_that_existed_before_the_tunnel_survives() {
    for (strict, address) in [
        (false, "0.0.0.0:22"),
        (true, "0.0.0.0:22"),
        (false, "[::]:22"),
    ] {
        let host = public_host();
        if strict {
            host.namespace
                .sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1");
        }
        let listener = listen(&host, address);
        let (mut peer, mut own) = connect(&host, &listener);
        host.install(RouteMode::Default);
        assert_eq!(host.way(PEER), "qdt0");
        arrives(&mut own, &mut peer);
        arrives(&mut peer, &mut own);
        // Once more, as after a repair or another answer of the server.
        host.install(RouteMode::Default);
        arrives(&mut own, &mut peer);
    }
}

#[test]
fn later_inbound_connections_are_answered_by_the_interface_they_arrived_on() {
    for strict in [false, true] {
        let host = public_host();
        if strict {
            host.namespace
                .sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1");
        }
        host.install(RouteMode::Default);
        let (mut peer, mut own) = connect(&host, &listen(&host, "0.0.0.0:22"));
        arrives(&mut own, &mut peer);
        arrives(&mut peer, &mut own);
        let service = socket(&host.namespace, "198.51.100.7:500");
        let asker = socket(&host.lan, &format!("{PEER}:0"));
        asker.send_to(b"question", "198.51.100.7:500").unwrap();
        let (_, from) = receive(&service);
        service.send_to(b"answer", from).unwrap();
        assert_eq!(receive(&asker).0, b"answer");
        host.lan.sh(&format!("ping -c 1 -W 10 -I {PEER} {PUBLIC}"));
    }
}

#[test]
fn connections_that_this_host_opened_enter_the_tunnel_whatever_arrives() {
    let host = public_host();
    // Opened before the tunnel, without connection tracking.
    let service = host
        .lan
        .run(|| TcpListener::bind(format!("{PEER}:443")).unwrap());
    let mut own = host
        .namespace
        .run(|| TcpStream::connect(format!("{PEER}:443")).unwrap());
    let (mut accepted, _) = service.accept().unwrap();
    let resolver = socket(&host.lan, &format!("{PEER}:53"));
    let program = socket(&host.namespace, "0.0.0.0:0");
    program.send_to(b"before", format!("{PEER}:53")).unwrap();
    let (_, asked_from) = receive(&resolver);
    host.install(RouteMode::Default);

    // What comes in first must not make connection tracking take the host for the one who answers.
    accepted.write_all(b"data").unwrap();
    own.read_exact(&mut [0; 4]).unwrap();
    enters_the_tunnel(&host);
    resolver.send_to(b"late", asked_from).unwrap();
    assert_eq!(receive(&program).0, b"late");
    program.send_to(b"again", format!("{PEER}:53")).unwrap();
    enters_the_tunnel(&host);
    own.write_all(b"more").unwrap();
    enters_the_tunnel(&host);
    nothing_waits(&resolver);
    accepted.set_nonblocking(true).unwrap();
    let nothing = accepted.read(&mut [0; 4]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    // And a connection that starts now.
    let program = socket(&host.namespace, "0.0.0.0:0");
    program.send_to(b"new", format!("{PEER}:53")).unwrap();
    enters_the_tunnel(&host);
    nothing_waits(&resolver);
}

#[test]
fn no_host_behind_the_server_makes_this_host_answer_outside_the_tunnel() {
    let host = public_host();
    host.install(RouteMode::Default);
    let service = socket(&host.namespace, "0.0.0.0:9");
    let inner = udp([203, 0, 113, 9], [10, 8, 0, 5]);
    host.tun.queues[0]
        .write(&udp([203, 0, 113, 9], [198, 51, 100, 7]))
        .unwrap();
    host.tun.queues[0].write(&inner).unwrap();
    let (_, peer) = receive(&service);
    nothing_waits(&service);
    service.send_to(b"answer", peer).unwrap();
    enters_the_tunnel(&host);
}

#[test]
fn packets_from_another_tunnel_are_never_answered_in_the_clear() {
    for (everything, other, strict) in [
        ("qdt0", "qdt1", false),
        ("qdt1", "qdt0", false),
        ("qdt1", "qdt0", true),
        ("qdt0", "qdt1", true),
    ] {
        let host = public_host();
        let second = open_tun(&host.namespace, "qdt1", "10.9.0.5/32");
        if strict {
            host.namespace
                .sh("sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1");
        }
        host.lan.sh("nft add table ip seen
             nft 'add chain ip seen in { type filter hook prerouting priority raw; }'
             nft add rule ip seen in ip saddr 10.8.0.0/15 counter");
        let install = |tun: &str, mode| {
            let first = plan(mode);
            let plan = match tun {
                "qdt0" => first,
                _ => RoutePlan {
                    tun: tun.to_owned(),
                    address: "10.9.0.5".parse().unwrap(),
                    network: "10.9.0.0/24".parse().unwrap(),
                    ..first
                },
            };
            assert_eq!(host.install_plan(&plan), [""; 0]);
        };
        install(other, RouteMode::None);
        install(everything, RouteMode::Default);
        let (by, through, pool) = match other {
            "qdt0" => (&host.tun, &second, 8),
            _ => (&second, &host.tun, 9),
        };
        // Bound to the inner address, so that every answer has it for its source.
        let service = socket(&host.namespace, &format!("10.{pool}.0.5:9"));
        let gateway = [10, pool, 0, 1];
        by.queues[0].write(&udp(gateway, [10, pool, 0, 5])).unwrap();
        service.send_to(b"answer", receive(&service).1).unwrap();
        enters(by, gateway);
        // From behind that tunnel's server, where no route leads back. A strict filter drops it.
        if !strict {
            let behind = udp([203, 0, 113, 9], [10, pool, 0, 5]);
            by.queues[0].write(&behind).unwrap();
            service.send_to(b"answer", receive(&service).1).unwrap();
            enters(through, [203, 0, 113, 9]);
        }
        let seen = host.lan.sh("nft list table ip seen");
        assert!(seen.contains("counter packets 0"), "{other}: {seen}");
    }
}

#[test]
fn replies_to_inbound_connections_follow_the_rules_of_the_administrator() {
    let host = public_host();
    host.namespace.sh(&format!(
        "ip route add default via 198.51.100.77 dev eth0 table 100
         ip rule add pref 32765 from {PUBLIC} lookup 100"
    ));
    let mark = RouteIdentity::of("qdt0").inbound_mark();
    host.install(RouteMode::Default);
    let way = host
        .namespace
        .sh(&format!("ip route get {PEER} from {PUBLIC} mark {mark:#x}"));
    assert!(way.contains("via 198.51.100.77"), "{way}");
    assert_eq!(host.way(PEER), "qdt0");
}

#[test]
fn a_host_without_a_public_address_and_the_other_modes_mark_nothing_and_the_end_leaves_nothing() {
    let host = Host::new();
    host.install(RouteMode::Default);
    assert!(!host.everything().contains("qdtinbound"));
    remove(&host);
    let host = public_host();
    let before = host.everything();
    for mode in [
        RouteMode::None,
        RouteMode::Cidr("10.9.0.0/16".parse().unwrap()),
    ] {
        host.install(mode);
        assert!(!host.everything().contains("qdtinbound"), "{mode:?}");
    }
    host.install(RouteMode::Default);
    let once = all_lines(&host);
    assert!(
        once.join("\n").contains("table ip qdtinbound_qdt0"),
        "{once:?}"
    );
    host.install(RouteMode::Default);
    assert_eq!(all_lines(&host), once);
    host.namespace.sh("nft flush table ip qdtinbound_qdt0");
    host.install(RouteMode::Default);
    assert_eq!(all_lines(&host), once, "repaired");
    host.install(RouteMode::None);
    assert!(!host.everything().contains("qdtinbound"));
    host.install(RouteMode::Default);
    remove(&host);
    assert_eq!(host.everything(), before);
    host.install(RouteMode::Default);
    host.namespace.sh("ip link del qdt0");
    host.namespace
        .block_on(async || HostRoutes.remove_leftovers("qdt0").await.unwrap());
    assert_eq!(host.namespace.sh("nft list ruleset"), "");
}

/// All rules, routes and tables, whatever the order of the tables.
fn all_lines(host: &Host) -> Vec<String> {
    let mut lines: Vec<_> = host.everything().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// An UDP packet to port 9.
pub(crate) fn udp(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0];
    packet.extend(from);
    packet.extend(to);
    let words = packet
        .chunks_exact(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(w[1]));
    let sum: u32 = words.sum();
    let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend([0, 53, 0, 9, 0, 13, 0, 0]);
    packet.extend(b"inner");
    packet
}
