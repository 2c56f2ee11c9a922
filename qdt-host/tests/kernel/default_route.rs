//! The default route of this host.

use qdt_host::{HostNetwork, Network};

use crate::namespace::Namespace;

#[test]
fn the_default_route_with_the_lowest_metric_names_interface_and_source() {
    let namespace = Namespace::new();
    namespace.sh(
        "ip link add wan0 type veth peer name far0; ip link add wan1 type veth peer name far1
                  for link in far0 far1 wan0 wan1; do ip link set $link up; done
                  ip addr add 192.0.2.7/24 dev wan0; ip addr add 198.51.100.7/24 dev wan1
                  ip addr add 198.51.100.8/24 dev wan1
                  ip route add default via 192.0.2.1 metric 300
                  ip route add default via 198.51.100.1 metric 100",
    );
    let ask = async || {
        (
            HostNetwork.default_route_interface().await.unwrap(),
            HostNetwork.default_route_source().await.unwrap(),
        )
    };
    let first = namespace.block_on(ask);
    assert_eq!(
        first,
        (
            Some("wan1".to_owned()),
            Some("198.51.100.7".parse().unwrap())
        )
    );
    namespace.sh("ip route replace default via 198.51.100.1 metric 100 src 198.51.100.8");
    assert_eq!(
        namespace.block_on(ask).1,
        Some("198.51.100.8".parse().unwrap())
    );
    namespace.sh("ip link del wan1");
    let second = namespace.block_on(ask);
    assert_eq!(
        second,
        (Some("wan0".to_owned()), Some("192.0.2.7".parse().unwrap()))
    );
}

#[test]
fn without_a_default_route_there_is_no_interface_and_no_source() {
    let namespace = Namespace::new();
    namespace.block_on(async || {
        assert_eq!(HostNetwork.default_route_interface().await.unwrap(), None);
        assert_eq!(HostNetwork.default_route_source().await.unwrap(), None);
    });
}

#[test]
fn a_host_with_ipv6_alone_has_a_source_but_no_interface_for_ipv4() {
    let namespace = Namespace::new();
    namespace.sh(
        "ip link add wan0 type veth peer name far0; ip link set far0 up; ip link set wan0 up
                  ip addr add 2001:db8::7/64 dev wan0 nodad
                  ip -6 route add default via 2001:db8::1",
    );
    namespace.block_on(async || {
        assert_eq!(HostNetwork.default_route_interface().await.unwrap(), None);
        assert_eq!(
            HostNetwork.default_route_source().await.unwrap(),
            Some("2001:db8::7".parse().unwrap())
        );
    });
}
