//! From the tunnel to the internet host: NAT, forwarding, names, and what
//! becomes of the rules.

use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use conformance::{
    Binaries, Capture, Client, Config, DnsResponder, Lab, Machine, Process, Reflector, Server,
    dns_query, reflect, stay_silent, wait_until,
};

use conformance::probe::{Session, SessionOptions, echo_request, udp_packet};

use crate::{SECOND, SERVER, pings, session};

fn with_nat() -> Config {
    Config::server().set("nat", "{enabled: true, external_iface: eth0}")
}

/// A client whose packets to the internet host go through the tunnel.
fn client_with_default_route(lab: &Lab) -> Client<'_> {
    Client::start(
        &lab.clients[0],
        Config::client().set("route_mode", "default"),
    )
}

#[test]
fn the_internet_host_sees_the_address_of_the_server() {
    let lab = Lab::new(1);
    let _seen = Reflector::start(&lab.internet);
    let _server = Server::start(&lab.server, with_nat());
    let client = client_with_default_route(&lab);
    assert_eq!(
        reflect(client.machine(), Lab::INTERNET),
        Some(IpAddr::V4(Lab::SERVER))
    );
}

#[test]
fn unsolicited_packets_from_outside_never_reach_a_client() {
    let lab = Lab::new(1);
    let _seen = Reflector::start(&lab.internet);
    let _server = Server::start(&lab.server, with_nat());
    let client = client_with_default_route(&lab);
    let inner = client.inner_address().expect("a connected client");
    // The outside knows the way to the pool.
    lab.internet.ip("route add 10.8.0.0/24 via 203.0.113.1");
    lab.core.ip("route add 10.8.0.0/24 via 192.0.2.2");
    let service = client
        .machine()
        .enter(|| TcpListener::bind((inner, 80)))
        .expect("a free port");
    let reached = |from: &Machine| {
        from.enter(|| TcpStream::connect_timeout(&(inner, 80).into(), SECOND))
            .is_ok()
    };
    assert!(reached(&lab.server), "the server itself reaches its client");
    assert!(!reached(&lab.core), "a neighbour of the server");
    assert!(!reached(&lab.internet), "a host further away");
    let counter = ["list", "counter", "ip", "qdt_qdt0", "inbound"];
    let counter = lab.server.run("nft", &counter);
    assert!(!counter.contains("packets 0 "), "{counter}");
    assert_eq!(
        reflect(client.machine(), Lab::INTERNET),
        Some(IpAddr::V4(Lab::SERVER))
    );
    drop(service);
}

#[test]
fn nat_without_a_named_interface_uses_that_of_the_default_route() {
    let lab = Lab::new(1);
    let _seen = Reflector::start(&lab.internet);
    let _server = Server::start(&lab.server, Config::server().set("nat", "{enabled: true}"));
    let client = client_with_default_route(&lab);
    assert_eq!(
        reflect(client.machine(), Lab::INTERNET),
        Some(IpAddr::V4(Lab::SERVER))
    );
}

#[test]
fn nat_without_the_program_nft_ends_the_start_and_names_the_package() {
    // Wherever it is installed, programs under this shell do not find it.
    const HIDDEN: &str = "for nft in /usr/sbin/nft /usr/bin/nft /sbin/nft /usr/local/sbin/nft; do
        [ -e $nft ] && mount --bind /dev/null $nft
    done
    exec \"$0\" -config \"$1\"";
    for nat in ["{enabled: true, external_iface: eth0}", "{enabled: true}"] {
        let lab = Lab::new(1);
        let config = lab.server.folder().join("server.yaml");
        std::fs::write(&config, Config::server().set("nat", nat).yaml()).expect("writable");
        let mut server = Process::start(
            &lab.server,
            "qdt-server",
            Path::new("/bin/sh"),
            &[
                "-c",
                HIDDEN,
                &Binaries::server().to_string_lossy(),
                &config.to_string_lossy(),
            ],
        );
        assert_eq!(server.wait_for_exit(10 * SECOND), 1, "{}", server.stdout());
        let log = server.stdout();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("nft")).collect();
        assert_eq!(lines.len(), 1, "said once: {log}");
        assert!(lines[0].contains("server init error"), "{log}");
        assert!(lines[0].contains("install the package nftables"), "{log}");
        assert!(
            lab.server
                .run("ip", &["link"])
                .lines()
                .all(|line| !line.contains("qdt0"))
        );
    }
}

#[test]
fn dns_queries_pass_through_nat() {
    let lab = Lab::new(1);
    let responder = DnsResponder::start(&lab.internet);
    let _server = Server::start(&lab.server, with_nat());
    let client = client_with_default_route(&lab);
    let answer = dns_query(client.machine(), Lab::INTERNET, "www.example.org");
    assert_eq!(answer.ok(), Some(DnsResponder::ANSWER));
    assert_eq!(responder.askers(), [IpAddr::V4(Lab::SERVER)]);
}

#[test]
fn nat_works_where_the_iptables_forward_policy_is_drop_and_cleans_up() {
    let lab = Lab::new(1);
    lab.server.run("iptables", &["-P", "FORWARD", "DROP"]);
    lab.server.run(
        "iptables",
        &["-A", "FORWARD", "-s", "192.0.2.99", "-j", "ACCEPT"],
    );
    let before = lab.server.run("iptables-save", &["-t", "filter"]);
    let _seen = Reflector::start(&lab.internet);
    let mut server = Server::start(&lab.server, with_nat());
    let client = client_with_default_route(&lab);
    assert_eq!(
        reflect(client.machine(), Lab::INTERNET),
        Some(IpAddr::V4(Lab::SERVER))
    );
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait_for_exit(10 * SECOND), 0);
    let after = lab.server.run("iptables-save", &["-t", "filter"]);
    assert_eq!(rules(&before), rules(&after));

    // And where it was killed, the next start takes the old rules away.
    for _ in 0..2 {
        let mut killed = Server::start(&lab.server, with_nat());
        killed.kill();
    }
    let mut last = Server::start(&lab.server, with_nat());
    let running = lab.server.run("iptables-save", &["-t", "filter"]);
    assert_eq!(rules(&running).len(), rules(&before).len() + 2, "{running}");
    last.signal(libc::SIGTERM);
    assert_eq!(last.wait_for_exit(10 * SECOND), 0);
    assert_eq!(
        rules(&before),
        rules(&lab.server.run("iptables-save", &["-t", "filter"]))
    );
}

/// Policies and rules of `iptables-save`, without comments and counters.
fn rules(saved: &str) -> Vec<String> {
    saved
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(" [").next().unwrap_or(line).to_owned())
        .collect()
}

/// A3.
#[test]
fn ten_killed_starts_leave_one_masquerade_and_a_stop_leaves_none() {
    let lab = Lab::new(0);
    lab.server.nft(
        "table ip foreign { chain c { type filter hook input priority 5; counter accept\n}\n}\n",
    );
    let foreign = || {
        let text = lab
            .server
            .run("nft", &["-s", "list", "table", "ip", "foreign"]);
        assert!(text.contains("accept"), "{text}");
        text
    };
    let before = foreign();
    for _ in 0..10 {
        let mut server = Server::start(&lab.server, with_nat());
        assert_eq!(masquerades(&lab.server), 1);
        server.kill();
    }
    let mut server = Server::start(&lab.server, with_nat());
    assert_eq!(masquerades(&lab.server), 1);
    server.signal(libc::SIGTERM);
    assert_eq!(server.wait_for_exit(10 * SECOND), 0);
    assert_eq!(masquerades(&lab.server), 0);
    assert_eq!(foreign(), before);
    let tables = lab.server.run("nft", &["list", "tables"]);
    assert_eq!(tables.trim(), "table ip foreign");
}

fn masquerades(machine: &Machine) -> usize {
    machine
        .run("nft", &["list", "ruleset"])
        .matches("masquerade")
        .count()
}

/// L8: the flow of a previous owner does not reach the next one.
#[test]
fn a_reused_address_receives_nothing_of_its_previous_owner() {
    let lab = Lab::new(2);
    let config = with_nat()
        .set("pool_cidr", "10.8.0.0/30")
        .set("session_timeout", "1s");
    let server = Server::start(&lab.server, config);
    let mut first = client_with_default_route(&lab);
    let address = first.inner_address();

    // The internet host answers one datagram with a stream of them.
    let service = lab
        .internet
        .enter(|| UdpSocket::bind("203.0.113.2:5555"))
        .expect("a free port");
    service
        .set_read_timeout(Some(5 * SECOND))
        .expect("a time-out that is not zero");
    lab.clients[0].enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a UDP socket");
        for _ in 0..3 {
            let _ = socket.send_to(b"send me more", "203.0.113.2:5555");
        }
    });
    let (_, flow) = service
        .recv_from(&mut [0; 64])
        .expect("the request came through NAT");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = service.send_to(b"for the previous owner", flow);
                stay_silent(SECOND / 100);
            }
        });
        first.kill();
        wait_until("the address is free", 40 * SECOND, || {
            server.metrics().sessions() == 0.0
        });
        let second = Client::spawn(&lab.clients[1], Config::client());
        let capture = wait_for_device(&lab.clients[1]);
        let mut second = second;
        second.wait_until_connected();
        assert_eq!(second.inner_address(), address, "the pool has one address");
        stay_silent(SECOND);
        let strays = capture.packets().len();
        over.store(true, Ordering::Relaxed);
        assert_eq!(strays, 0, "datagrams of the previous owner arrived");
        assert!(pings(&second));
    });
}

/// L8, while every descriptor of the process is taken.
#[test]
fn a_reused_address_receives_nothing_of_its_previous_owner_where_no_descriptor_is_left() {
    let lab = Lab::new(1);
    let config = with_nat()
        .set("pool_cidr", "10.8.0.0/30")
        .set("session_timeout", "1s");
    let server = Server::start(&lab.server, config);
    let service = lab
        .internet
        .enter(|| UdpSocket::bind("203.0.113.2:5555"))
        .expect("a free port");
    service
        .set_read_timeout(Some(10 * SECOND))
        .expect("a time-out that is not zero");
    let first = session(&lab, 0);
    let inner = first.inner();
    let mut first = first;
    first.send_packet(&udp_packet(
        (inner, 4000),
        (Lab::INTERNET, 5555),
        b"send me more",
    ));
    let (_, flow) = service
        .recv_from(&mut [0; 64])
        .expect("the request came through NAT");
    // None is left: what is open stays open, and nothing new can be opened.
    let process = server.pid().to_string();
    lab.server
        .run("prlimit", &["--pid", &process, "--nofile=3"]);
    first.probe.close();
    let mut second = None;
    wait_until("the address is given out again", 15 * SECOND, || {
        second = Session::open(&lab.clients[0], SERVER, &SessionOptions::default()).ok();
        second.is_some()
    });
    let mut second = second.expect("it was waited for");
    assert_eq!(second.inner(), inner, "the pool has one address");
    for _ in 0..10 {
        service
            .send_to(b"for the previous owner", flow)
            .expect("sent");
    }
    // What is asked for now comes back the same way, after it, but perhaps by another worker.
    second.send_packet(&echo_request(inner, Lab::INTERNET, 1, 56));
    let first = second.receive_packet(10 * SECOND, |packet| {
        packet[9] == 17 || (packet[9] == 1 && packet[20] == 0)
    });
    let late = second.receive_packet(SECOND, |packet| packet[9] == 17);
    let first = first.expect("the new owner is served");
    assert!(
        first[9] == 1 && late.is_none(),
        "a datagram of the previous owner arrived"
    );
}

/// Captures UDP on the client's TUN device as soon as there is one.
fn wait_for_device(machine: &Machine) -> Capture {
    wait_until("the TUN device", 60 * SECOND, || {
        let links = machine
            .command("ip")
            .args(["link", "show", "qdt0"])
            .output();
        links.is_ok_and(|output| output.status.success())
    });
    Capture::start(machine, "qdt0", |captured| {
        !captured.outgoing && captured.packet.get(9) == Some(&17)
    })
}
