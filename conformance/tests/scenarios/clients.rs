//! Several clients at once: addresses of their own, nothing between them
//! unless allowed, and no way to the server's own services.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use conformance::probe::{echo_request, udp_packet};
use conformance::{Capture, Client, Config, Lab, Server, ping, wait_until};

use crate::{SECOND, pings, session};

/// Clients that send what is for the pool into the tunnel.
fn connected(lab: &Lab) -> Vec<Client<'_>> {
    let config = Config::client().set("route_mode", "cidr");
    lab.clients
        .iter()
        .map(|machine| Client::start(machine, config.clone()))
        .collect()
}

fn addresses(clients: &[Client<'_>]) -> Vec<Ipv4Addr> {
    clients
        .iter()
        .map(|client| client.inner_address().expect("a connected client"))
        .collect()
}

#[test]
fn three_clients_have_addresses_of_their_own_and_all_are_served() {
    let lab = Lab::new(3);
    let server = Server::start(&lab.server, Config::server());
    let clients = connected(&lab);
    let unique: HashSet<_> = addresses(&clients).into_iter().collect();
    assert_eq!(unique.len(), 3, "{unique:?}");
    assert!(clients.iter().all(pings));
    assert_eq!(server.metrics().sessions(), 3.0);
}

/// H4: clients do not reach each other.
#[test]
fn h4_no_packet_passes_from_client_to_client_and_the_attempts_are_counted() {
    let lab = Lab::new(3);
    let server = Server::start(&lab.server, Config::server());
    let clients = connected(&lab);
    let addresses = addresses(&clients);
    for (n, client) in clients.iter().enumerate() {
        for (m, address) in addresses.iter().enumerate().filter(|(m, _)| *m != n) {
            let answer = ping(client.machine(), (*address).into(), 56, SECOND / 4);
            assert!(answer.is_none(), "client {n} reached client {m}");
        }
    }
    let dropped = server.metrics().drops("client_to_client");
    assert!(dropped >= 6.0, "{dropped} of six attempts are counted");
    assert!(clients.iter().all(pings), "and all are served still");
}

#[test]
fn client_to_client_true_lets_clients_reach_each_other() {
    let lab = Lab::new(2);
    // Forwarding is the kernel's: it is on where NAT is.
    let config = Config::server()
        .set("client_to_client", "true")
        .set("nat", "{enabled: true, external_iface: eth0}");
    let _server = Server::start(&lab.server, config);
    let clients = connected(&lab);
    let addresses = addresses(&clients);
    for (client, address) in [(0, 1), (1, 0)] {
        let answer = ping(&lab.clients[client], addresses[address].into(), 56, SECOND);
        assert!(
            answer.is_some(),
            "client {client} to {}",
            addresses[address]
        );
    }
}

/// H4: metrics, health and pprof answer on the host, not in the tunnel.
#[test]
fn h4_metrics_health_and_pprof_do_not_answer_inside_the_tunnel_and_the_attempts_are_counted() {
    let lab = Lab::new(1);
    let server = Server::start(&lab.server, Config::server().set("pprof_addr", "\":6060\""));
    let client = Client::start(&lab.clients[0], Config::client());
    for port in [9100, 9200, 6060] {
        let on_the_host = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait_until("the port answers on the host", SECOND, || {
            lab.server
                .enter(|| TcpStream::connect_timeout(&on_the_host, SECOND))
                .is_ok()
        });
        for address in [Lab::GATEWAY, Lab::SERVER] {
            // The outer address of the server, too, when it is reached through the tunnel.
            let route = format!("{address}/32");
            client
                .machine()
                .ip(&format!("route replace {route} dev qdt0 table 77"));
            let target = SocketAddr::from((address, port));
            let inner = client.inner_address().expect("a connected client");
            client
                .machine()
                .ip(&format!("rule add from {inner} table 77 priority 10"));
            let answer = client.machine().enter(|| ask_from(inner, target));
            assert_eq!(answer, b"", "{target} answered through the tunnel");
            client.machine().ip("rule del priority 10");
        }
    }
    assert!(pings(&client));
    let refused = server.metrics().value("qdt_control_refused_total");
    assert!(refused >= 6.0, "{refused} of six attempts are counted");
}

/// H4: a client does not reach the networks next to the server, except the one behind NAT.
#[test]
fn h4_a_client_does_not_reach_the_servers_lan_and_the_attempts_are_counted() {
    let lab = Lab::new(1);
    // A host on a second link of the server, which would have to be forwarded to.
    let neighbour = Ipv4Addr::new(192, 168, 50, 2);
    for command in [
        "link add lan0 type veth peer name lan1",
        "address add 192.168.50.1/24 dev lan0",
        "link set lan0 up",
        "link set lan1 up",
        "neigh replace 192.168.50.2 lladdr 02:00:00:00:00:02 dev lan0",
    ] {
        lab.server.ip(command);
    }
    let config = Config::server().set("nat", "{enabled: true, external_iface: eth0}");
    let _server = Server::start(&lab.server, config);
    let on_lan = Capture::start(&lab.server, "lan0", |captured| {
        captured.packet.get(16..20) == Some(&[192, 168, 50, 2])
    });
    let mut client = session(&lab, 0);
    for port in [22, 53, 443] {
        let probe = udp_packet((client.inner(), 4000), (neighbour, port), b"anybody there?");
        client.send_packet(&probe);
    }
    // The same way, where it is allowed: the internet host answers, after everything before was
    // judged.
    let request = echo_request(client.inner(), Lab::INTERNET, 1, 56);
    client.send_packet(&request);
    let answer = client.receive_packet(2 * SECOND, |packet| packet[9] == 1 && packet[20] == 0);
    assert!(answer.is_some(), "NAT leads to the internet host");
    assert!(on_lan.packets().is_empty(), "{:?}", on_lan.packets());
    let rules = lab.server.run("nft", &["list", "ruleset"]);
    let counted = rules
        .lines()
        .any(|rule| rule.contains("iifname \"qdt0\" counter packets 3 ") && rule.contains("drop"));
    assert!(counted, "three packets are counted:\n{rules}");
}

/// H4: what only the server's host may reach - the metadata of its cloud above all - is out of
/// reach for clients, behind a link as well as on the host itself, with NAT and where the host
/// forwards by itself.
#[test]
fn h4_a_client_reaches_no_link_local_address_unless_it_is_opened() {
    for nat in ["{enabled: true, external_iface: eth0}", "{enabled: false}"] {
        let lab = Lab::new(1);
        let metadata = Ipv4Addr::new(169, 254, 169, 254);
        let own = Ipv4Addr::new(169, 254, 5, 5);
        lab.core.ip("address add 169.254.169.254/32 dev srv");
        lab.core.ip("route add 10.8.0.0/24 via 192.0.2.2");
        for command in [
            "address add 169.254.5.5/32 dev lo",
            "route add 169.254.169.254 via 192.0.2.1",
        ] {
            lab.server.ip(command);
        }
        lab.server.sysctl("net/ipv4/ip_forward", "1");
        lab.server.sysctl("net/ipv4/conf/all/route_localnet", "1");
        let config = Config::server().set("nat", nat);
        for opened in [false, true] {
            let config = if opened {
                let addresses = "[169.254.169.254, 169.254.5.5]";
                config.clone().set("forward_link_local", addresses)
            } else {
                config.clone()
            };
            let server = Server::start(&lab.server, config);
            let mut client = session(&lab, 0);
            let mut answers = |to: Ipv4Addr, number: u16| {
                let request = echo_request(client.inner(), to, number, 56);
                client.send_packet(&request);
                let wait = if opened { 5 * SECOND } else { SECOND / 2 };
                let reply = client.receive_packet(wait, |packet| {
                    packet[9] == 1 && packet[20] == 0 && packet[12..16] == to.octets()
                });
                reply.is_some()
            };
            assert_eq!(answers(metadata, 1), opened, "{nat} {opened}");
            assert_eq!(answers(own, 2), opened, "{nat} {opened}");
            assert!(!answers(Ipv4Addr::new(127, 0, 0, 1), 3), "{nat} {opened}");
            let counted = server.metrics().drops("link_local");
            assert_eq!(counted, if opened { 1.0 } else { 3.0 }, "{nat} {opened}");
        }
    }
}

/// What a GET from that local address is answered with in half a second;
/// nothing where no connection comes about.
fn ask_from(local: Ipv4Addr, target: SocketAddr) -> Vec<u8> {
    use socket2::{Domain, Socket, Type};
    use std::io::{Read as _, Write as _};
    let mut answer = Vec::new();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a TCP socket");
    socket
        .bind(&SocketAddr::from((local, 0)).into())
        .expect("the client's own address");
    if socket.connect_timeout(&target.into(), SECOND / 2).is_ok() {
        let mut stream = TcpStream::from(socket);
        let _ = stream.set_read_timeout(Some(SECOND / 2));
        let _ = stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n");
        let _ = stream.read_to_end(&mut answer);
    }
    answer
}
