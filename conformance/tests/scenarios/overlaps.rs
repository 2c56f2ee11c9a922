//! A pool that meets the networks of the client's own machine: they stay what they were, the tunnel
//! carries the rest, and one line of the log names both.

use conformance::{Client, Config, Lab, Machine, Server, ping};

use crate::SECOND;

const MODES: [&str; 3] = ["default", "cidr", "none"];

/// The interface by which this machine sends to `destination`.
fn egress_interface(machine: &Machine, destination: &str) -> String {
    let shown = machine.ip(&format!("route get {destination}"));
    let mut words = shown.split_whitespace().skip_while(|word| *word != "dev");
    words.nth(1).expect("every route has a device").to_owned()
}

/// Connects in every mode and expects `neighbour` to be reached by `interface`, the gateway through
/// the tunnel where the networks leave it there, and one warning with all `parts`.
fn stays_reachable(
    lab: &Lab,
    interface: &str,
    neighbour: &str,
    gateway: Option<&str>,
    parts: &[&str],
) {
    let machine = &lab.clients[0];
    for mode in MODES {
        let mut client = Client::spawn(machine, Config::client().set("route_mode", mode));
        client.wait_for_line("msg=connected", 20 * SECOND);
        assert_eq!(egress_interface(machine, neighbour), interface, "{mode}");
        if let Some(gateway) = gateway {
            assert_eq!(egress_interface(machine, gateway), "qdt0", "{mode}");
            let gateway = gateway.parse().expect("an address");
            assert!(ping(machine, gateway, 56, SECOND).is_some(), "{mode}");
        }
        let log = client.output();
        let warnings: Vec<_> = log
            .lines()
            .filter(|line| line.contains("overlaps"))
            .collect();
        assert_eq!(warnings.len(), 1, "{mode}: {log}");
        for part in parts {
            assert!(warnings[0].contains(part), "{part}: {}", warnings[0]);
        }
        client.signal(libc::SIGTERM);
        assert_eq!(client.wait_for_exit(10 * SECOND), 0);
        assert!(!machine.ip("rule").contains("proto 113"), "{mode}");
    }
}

#[test]
fn a_servers_pool_over_the_clients_lan_leaves_the_lan_reachable_in_every_mode() {
    let lab = Lab::new(1);
    let machine = &lab.clients[0];
    // A second LAN, as a bridge with a port: a bridge alone has no carrier.
    for command in [
        "link add lan0 type bridge",
        "link add lan1 type veth peer name lan2",
        "link set lan1 master lan0 up",
        "link set lan2 up",
        "address add 192.168.77.2/24 dev lan0",
        "link set lan0 up",
    ] {
        machine.ip(command);
    }
    let _server = Server::start(
        &lab.server,
        Config::server().set("pool_cidr", "192.168.0.0/16"),
    );
    let parts = ["192.168.0.0/16", "192.168.77.0/24", "`lan0`", "`pool_cidr`"];
    stays_reachable(&lab, "lan0", "192.168.77.1", Some("192.168.0.1"), &parts);
}

#[test]
fn a_container_bridge_over_the_pool_stays_reachable_in_every_mode() {
    let lab = Lab::new(1);
    let machine = &lab.clients[0];
    for command in [
        "link add docker0 type bridge",
        "address add 172.17.0.1/16 dev docker0",
        "link set docker0 up",
    ] {
        machine.ip(command);
    }
    let _server = Server::start(
        &lab.server,
        Config::server().set("pool_cidr", "172.17.0.0/24"),
    );
    let parts = ["172.17.0.0/24", "172.17.0.0/16", "`docker0`", "`pool_cidr`"];
    stays_reachable(&lab, "docker0", "172.17.0.77", None, &parts);
}
