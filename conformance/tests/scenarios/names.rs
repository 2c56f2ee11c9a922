//! Names: where the server's is looked up while the tunnel is down, and whom the
//! client's host asks.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use conformance::{Capture, Captured, Client, Config, DnsResponder, Lab, Server, wait_until};

use crate::SECOND;

/// Where the server is found after it has moved.
const MOVED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

/// A question to a name server.
fn is_question(captured: &Captured) -> bool {
    let packet = &captured.packet;
    packet.len() > 28 && packet[0] >> 4 == 4 && packet[9] == 17 && packet[22..24] == [0, 53]
}

#[test]
fn in_route_mode_default_the_servers_new_address_is_resolved_outside_the_dead_tunnel() {
    let lab = Lab::new(1);
    let machine = &lab.clients[0];
    let resolver = DnsResponder::start(&lab.internet);
    resolver.set_answer(Lab::SERVER);
    let own = format!("nameserver {}\n", Lab::INTERNET);
    fs::write(machine.resolv_conf(), &own).expect("the lab's folder is writable");
    let server_config = || Config::server().set("dns", "[198.51.100.53]");
    let mut server = Server::start(&lab.server, server_config());
    let config = Config::client()
        .set("server", "vpn.example.org:443")
        .set("timeout", "3s")
        .set("route_mode", "default");
    let mut client = Client::start(machine, config);
    wait_until("resolv.conf names the tunnel's server", 5 * SECOND, || {
        fs::read_to_string(machine.resolv_conf())
            .is_ok_and(|text| text.contains("nameserver 198.51.100.53\n"))
    });
    let inside = Capture::start(machine, "qdt0", is_question);

    server.kill();
    lab.server.ip("address del 192.0.2.2/24 dev eth0");
    lab.server.ip("address add 192.0.2.77/24 dev eth0");
    lab.server.ip("-4 route replace default via 192.0.2.1");
    resolver.set_answer(MOVED);
    let before = resolver.askers().len();
    let _server = Server::start(&lab.server, server_config());
    wait_until(
        "the name is asked for outside the tunnel",
        30 * SECOND,
        || resolver.askers().len() > before,
    );
    client.wait_until_connected();
    let outside = IpAddr::V4(Lab::client_address(0));
    assert!(resolver.askers().iter().all(|asker| *asker == outside));
    assert_eq!(inside.packets().len(), 0, "questions in the tunnel");
    client.signal(libc::SIGTERM);
    assert_eq!(client.wait_for_exit(10 * SECOND), 0);
    assert_eq!(fs::read_to_string(machine.resolv_conf()).ok(), Some(own));
}

#[test]
fn a_resolv_conf_rewritten_by_a_dhcp_client_is_replaced_again_and_its_content_restored() {
    let lab = Lab::new(1);
    let machine = &lab.clients[0];
    let _server = Server::start(&lab.server, Config::server().set("dns", "[203.0.113.2]"));
    let config = Config::client().set("route_mode", "default");
    let mut client = Client::start(machine, config);
    let names_the_tunnels = || {
        fs::read_to_string(machine.resolv_conf())
            .is_ok_and(|text| text.contains("written by qdt-client"))
    };
    wait_until("resolv.conf is the tunnel's", 5 * SECOND, names_the_tunnels);
    let newer = "# from DHCP\nnameserver 172.20.0.1\n";
    fs::write(machine.resolv_conf(), newer).expect("the lab's folder is writable");
    wait_until(
        "resolv.conf is the tunnel's again",
        15 * SECOND,
        names_the_tunnels,
    );
    client.signal(libc::SIGTERM);
    assert_eq!(client.wait_for_exit(10 * SECOND), 0);
    let after = fs::read_to_string(machine.resolv_conf()).ok();
    assert_eq!(after.as_deref(), Some(newer));
    let lines = client.stdout() + &client.stderr();
    let said = "msg=\"the host did not ask the tunnel's resolvers; it does now\"";
    assert_eq!(lines.matches(said).count(), 1, "{lines}");
}
