//! The networks that this host is connected to.

use qdt_host::{HostNetwork, Network};

use crate::namespace::Namespace;

#[test]
fn every_address_names_its_network_and_interface() {
    let namespace = Namespace::new();
    namespace.sh(
        "ip link add lan0 type veth peer name far0; ip link set lan0 up
         ip addr add 192.168.77.2/24 dev lan0; ip addr add 192.168.78.9/32 dev lan0
         ip addr add fd00::1/64 dev lan0
         ip link add down0 type veth peer name far1; ip addr add 10.9.0.1/16 dev down0
         ip addr add 10.1.1.1 peer 10.2.2.2/32 dev down0",
    );
    let connected = namespace.block_on(async || HostNetwork.connected_networks().await.unwrap());
    let mut lines: Vec<_> = connected
        .iter()
        .map(|one| format!("{} {}", one.interface, one.network))
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "down0 10.2.2.2/32",
            "down0 10.9.0.0/16",
            "lan0 192.168.77.0/24",
            "lan0 192.168.78.9/32",
            "lo 127.0.0.0/8"
        ]
    );
}
