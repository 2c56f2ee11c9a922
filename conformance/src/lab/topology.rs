//! The network of a lab:
//!
//! ```text
//! client 0 -- 10.77.0.0/24 --\                                    /-- 192.0.2.0/24 ---- server
//! client 1 -- 10.77.1.0/24 ---+-- edge -- 172.31.0.0/30 -- core --+
//! client n -- 10.77.n.0/24 --/           (the middle link)        \-- 203.0.113.0/24 -- internet
//! ```
//!
//! Every leaf is at .2 of its net, the router at .1; IPv6 is the same with
//! `2001:db8:77:n::`, `2001:db8:2::` and `2001:db8:3::`. The internet host knows
//! no way to the server's pool, so what comes out of the tunnel reaches it only
//! through NAT. Impairments apply to the middle link, where both neighbours
//! stand for the world in between.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tempfile::TempDir;

use super::machine::Machine;
use super::requirements::check_requirements;
use super::wait::wait_until;
use crate::traffic::ping;

/// The machines of one test and the links between them.
#[derive(Debug)]
pub struct Lab {
    /// The clients, in order.
    pub clients: Vec<Machine>,
    /// The router on the clients' side.
    pub edge: Machine,
    /// The router on the server's side.
    pub core: Machine,
    /// The server.
    pub server: Machine,
    /// A host that is reached from the tunnel through the server's NAT.
    pub internet: Machine,
    folder: TempDir,
}

impl Lab {
    /// The server's outer IPv4 address.
    pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    /// The server's outer IPv6 address.
    pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 2);
    /// The internet host's address.
    pub const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
    /// The gateway inside the tunnel, where the configuration names no other.
    pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);

    /// The outer address of client `n`.
    #[must_use]
    pub fn client_address(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, n, 2)
    }

    /// Builds a lab with that many clients.
    ///
    /// # Panics
    /// When the host lacks something (every missing thing is named).
    #[must_use]
    pub fn new(clients: u8) -> Self {
        check_requirements();
        let folder = tempfile::Builder::new()
            .prefix("qdt-lab-")
            .tempdir()
            .expect("the temporary folder is writable");
        let machine = |name: &str| Machine::new(name, folder.path());
        let lab = Self {
            clients: (0..clients)
                .map(|n| machine(&format!("client{n}")))
                .collect(),
            edge: machine("edge"),
            core: machine("core"),
            server: machine("server"),
            internet: machine("internet"),
            folder,
        };
        for router in [&lab.edge, &lab.core] {
            router.sysctl("net/ipv4/ip_forward", "1");
            router.sysctl("net/ipv6/conf/all/forwarding", "1");
        }
        for (n, client) in lab.clients.iter().enumerate() {
            let v4 = format!("10.77.{n}");
            let v6 = format!("2001:db8:77:{n}");
            link(client, "eth0", &lab.edge, &format!("cl{n}"), &v4, &v6);
            default_route(client, &v4, &v6);
        }
        link(
            &lab.server,
            "eth0",
            &lab.core,
            "srv",
            "192.0.2",
            "2001:db8:2",
        );
        default_route(&lab.server, "192.0.2", "2001:db8:2");
        link(
            &lab.internet,
            "eth0",
            &lab.core,
            "inet",
            "203.0.113",
            "2001:db8:3",
        );
        // The internet host answers its own provider only: a packet from the
        // pool that slipped past NAT is one it cannot answer.
        for (route, family) in [
            ("192.0.2.0/24 via 203.0.113.1", "-4"),
            ("10.77.0.0/16 via 203.0.113.1", "-4"),
            ("2001:db8::/32 via 2001:db8:3::1", "-6"),
        ] {
            lab.internet.ip(&format!("{family} route add {route}"));
        }
        link(
            &lab.edge,
            "mid",
            &lab.core,
            "mid",
            "172.31.0",
            "2001:db8:31",
        );
        lab.edge.ip("-4 route add default via 172.31.0.1");
        lab.edge.ip("-6 route add default via 2001:db8:31::1");
        lab.core.ip("-4 route add 10.77.0.0/16 via 172.31.0.2");
        lab.core
            .ip("-6 route add 2001:db8:77::/48 via 2001:db8:31::2");
        lab.wait_for_links();
        lab
    }

    /// The kernel tells IPv6 of a link that came up within about a second; a
    /// lab is ready when every router answers its neighbours.
    fn wait_for_links(&self) {
        let leaves = self
            .clients
            .iter()
            .enumerate()
            .map(|(n, client)| (client, format!("77:{n}")));
        let others = [
            (&self.server, "2"),
            (&self.internet, "3"),
            (&self.edge, "31"),
        ];
        for (machine, net) in leaves.chain(others.map(|(machine, net)| (machine, net.to_owned()))) {
            let router = format!("2001:db8:{net}::1")
                .parse()
                .expect("an IPv6 address");
            wait_until("the link is up for IPv6", Duration::from_secs(10), || {
                ping(machine, router, 56, Duration::from_millis(50)).is_some()
            });
        }
    }

    /// The lab's folder, where every machine has its own.
    #[must_use]
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Every machine of the lab.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        self.clients
            .iter()
            .chain([&self.edge, &self.core, &self.server, &self.internet])
    }
}

/// A veth pair: `near` gets .2 and ::2, `far` .1 and ::1.
fn link(near: &Machine, near_name: &str, far: &Machine, far_name: &str, v4: &str, v6: &str) {
    near.ip(&format!(
        "link add {near_name} type veth peer name {far_name} netns {}",
        far.namespace_path()
    ));
    for (machine, name, last) in [(near, near_name, 2), (far, far_name, 1)] {
        // Those that the kernel makes would come and be confirmed in their own time. Without any, a
        // router cannot ask for a neighbour again that it forgot (RFC 4861 section 7.2.2).
        machine.ip(&format!("link set {name} addrgenmode none"));
        machine.ip(&format!("address add fe80::{last}/64 dev {name} nodad"));
        machine.ip(&format!("address add {v4}.{last}/24 dev {name}"));
        machine.ip(&format!("address add {v6}::{last}/64 dev {name} nodad"));
        machine.ip(&format!("link set {name} up"));
    }
}

fn default_route(machine: &Machine, v4: &str, v6: &str) {
    machine.ip(&format!("-4 route add default via {v4}.1"));
    machine.ip(&format!("-6 route add default via {v6}::1"));
}
